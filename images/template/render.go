package template

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/flosch/pongo2/v6"
)

// Limits of one template. Real ones are a few hundred bytes.
const (
	MaxSource = 256 << 10        // bytes of template text
	MaxOutput = 4 << 20          // bytes of result
	MaxTime   = 10 * time.Second // to render it in
)

// ErrOutput says that a template writes more than MaxOutput.
var ErrOutput = fmt.Errorf("it writes more than %d MiB", MaxOutput>>20)

// ErrSource says that a template is longer than MaxSource.
var ErrSource = fmt.Errorf("it is longer than %d KiB", MaxSource>>10)

// Render renders the template source with data: no HTML escaping, no access to
// files (the tags include, ssi, import and extends are banned), within the limits
// above and those of the child process (see childLimits).
func Render(ctx context.Context, source []byte, data Data) ([]byte, error) {
	if len(source) > MaxSource {
		return nil, ErrSource
	}
	if plain(string(source)) {
		return execute(source, &data)
	}
	return renderInChild(ctx, source, &data)
}

// plainSource is the longest source that is rendered in this process.
const plainSource = 16 << 10

// plain says that a template has no tags but if, elif, else and endif, and no
// filters. Such a template takes time and memory in proportion to its length:
// each part of it is evaluated at most once and nothing in it can grow a value.
func plain(source string) bool {
	if len(source) > plainSource || strings.Contains(source, "|") {
		return false
	}
	for {
		_, rest, found := strings.Cut(source, "{%")
		if !found {
			return true
		}
		word := strings.TrimLeft(strings.TrimPrefix(rest, "-"), " \t\r\n")
		end := strings.IndexFunc(word, func(r rune) bool { return r < 'a' || r > 'z' })
		if end < 0 {
			return false
		}
		switch word[:end] {
		case "if", "elif", "else", "endif":
		default:
			return false
		}
		source = rest
	}
}

// noLoader makes every reference to another template fail.
type noLoader struct{}

func (noLoader) Abs(_, name string) string { return name }
func (noLoader) Get(string) (io.Reader, error) {
	return nil, errors.New("templates cannot refer to other files")
}

// execute renders in this process. pongo2 panics on some inputs: that is an error
// of the template.
func execute(source []byte, data *Data) (out []byte, err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case any(ErrOutput):
			out, err = nil, ErrOutput
		default:
			out, err = nil, fmt.Errorf("the template engine gave up: %v", p)
		}
	}()
	set := pongo2.NewSet("image", noLoader{})
	for _, tag := range []string{"include", "ssi", "import", "extends"} {
		if err := set.BanTag(tag); err != nil {
			return nil, err
		}
	}
	tpl, err := set.FromString("{% autoescape off %}" + string(source) + "{% endautoescape %}")
	if err != nil {
		return nil, err
	}
	w := &limitedBuffer{}
	if err := tpl.ExecuteWriterUnbuffered(data.context(), w); err != nil {
		return nil, err
	}
	return w.b, nil
}

// limitedBuffer panics with ErrOutput when it would grow past MaxOutput: pongo2
// drops its writer's errors and would go on.
type limitedBuffer struct{ b []byte }

func (l *limitedBuffer) Write(p []byte) (int, error) {
	if len(p) > MaxOutput-len(l.b) {
		panic(ErrOutput)
	}
	l.b = append(l.b, p...)
	return len(p), nil
}
