package stage

import (
	"bufio"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// maxShebang is how much of a script's first line the kernel reads
// (linux/binfmts.h, BINPRM_BUF_SIZE).
const maxShebang = 256

// refused says why the kernel does not execute init, which it tells by a number
// that has several causes. It looks at the file where the instance sees it.
func refused(init string, cause error) error {
	init = path.Clean(init)
	why := whyRefused(init, cause)
	if why == "" {
		why = cause.Error()
	}
	return fmt.Errorf("cannot execute %s: %s", init, why)
}

// whyRefused is "" where there is nothing to add.
func whyRefused(init string, cause error) string {
	info, err := os.Stat(init)
	switch {
	case errors.Is(cause, unix.EACCES) && err == nil && info.IsDir():
		return "it is a directory"
	case errors.Is(cause, unix.EACCES) && err == nil && info.Mode()&0o111 == 0:
		return "it is not executable"
	case errors.Is(cause, unix.ENOENT) && err != nil:
		if target, lerr := os.Readlink(init); lerr == nil {
			return fmt.Sprintf("it is a link to %q, which is not there", target)
		}
		return "there is no such file in the root filesystem"
	case err != nil || !info.Mode().IsRegular():
		return ""
	}
	head, interpreter := inspect(init)
	switch {
	case errors.Is(cause, unix.ENOEXEC) && head == "":
		return "it is empty"
	case errors.Is(cause, unix.ENOEXEC) && strings.HasPrefix(head, "\x7fELF"):
		return "it is a program for another machine, or damaged"
	case errors.Is(cause, unix.ENOEXEC):
		return "it is no program, nor a script that begins with #!"
	case interpreter == "":
		return ""
	case errors.Is(cause, unix.ENOENT):
		return fmt.Sprintf("its interpreter %q is not in the root filesystem", interpreter)
	case errors.Is(cause, unix.EACCES):
		return fmt.Sprintf("its interpreter %q is not executable", interpreter)
	}
	return ""
}

// inspect reads how a file begins, and which interpreter a script or an ELF
// program names (man execve).
func inspect(name string) (head, interpreter string) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", ""
	}
	defer func() { _ = f.Close() }() // only read
	first, _ := bufio.NewReaderSize(f, maxShebang).Peek(maxShebang)
	if line, script := bytes.CutPrefix(first, []byte("#!")); script {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		if words := strings.Fields(string(line)); len(words) > 0 {
			interpreter = words[0]
		}
		return string(first), interpreter
	}
	program, err := elf.NewFile(f)
	if err != nil {
		return string(first), ""
	}
	for _, p := range program.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(p.Open(), unix.PathMax))
		if err == nil {
			interpreter = strings.TrimRight(string(text), "\x00")
		}
	}
	return string(first), interpreter
}
