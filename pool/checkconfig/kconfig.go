package checkconfig

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"sync"
)

// maxConfig bounds a configuration in bytes; Debian's has 270 kB.
const maxConfig = 8 << 20

// Kconfig is a kernel's configuration: the options that are set, without their
// prefix CONFIG_, as y, m, or another value.
type Kconfig map[string]string

var optionLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^CONFIG_([A-Za-z0-9_]+)=(.*)$`) })

// ParseKconfig reads a configuration (the kernel's
// Documentation/kbuild/kconfig.rst), plain or with gzip. What is no
// configuration is an error.
func ParseKconfig(r io.Reader) (Kconfig, error) {
	in := bufio.NewReader(r)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) { // RFC 1952
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		in = bufio.NewReader(z)
	}
	text, err := io.ReadAll(io.LimitReader(in, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxConfig {
		return nil, fmt.Errorf("it is larger than %d bytes", maxConfig)
	}
	k := Kconfig{}
	for line := range strings.Lines(string(text)) {
		if m := optionLine().FindStringSubmatch(strings.TrimRight(line, "\r\n")); m != nil {
			k[m[1]] = strings.Trim(m[2], `"`)
		}
	}
	if len(k) == 0 {
		return nil, errors.New("it is no kernel configuration")
	}
	return k, nil
}

// findKconfig reads the first of the usual places that has the configuration of
// a kernel release; path is "" when none has.
func findKconfig(root, release string) (k Kconfig, path string, err error) {
	for _, path := range []string{"/proc/config.gz", "/boot/config-" + release, "/lib/modules/" + release + "/config", "/lib/modules/" + release + "/build/.config", "/usr/lib/modules/" + release + "/config"} {
		f, err := os.Open(root + path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			k, err = ParseKconfig(f)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return nil, path, fmt.Errorf("cannot read %s: %w", path, err)
		}
		return k, path, nil
	}
	return nil, "", nil
}

// modules are the modules that are loaded (man proc_modules).
func modules(text string) map[string]bool {
	out := map[string]bool{}
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, " ")
		out[name] = true
	}
	return out
}
