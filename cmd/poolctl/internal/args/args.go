package args

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Rules are what the tree of commands does not say itself. Commands are named
// by their full path without the program's name: "snapshot create".
type Rules struct {
	// Raw names the commands after whose first argument the next argument starts
	// a command line of its own, in which nothing is a flag of ours: exec.
	Raw []string
	// Default is the subcommand that a group means when its next word names none
	// of them: `snapshot c1` is `snapshot create c1`.
	Default map[string]string
	// Forwarded are flags of the program that stand for the flag of the same name
	// of the command, and are refused when it has none: --format.
	Forwarded []string
}

// UsageError is a command line that cannot be read.
type UsageError struct {
	// Command is the full name of the deepest command that was recognised, for
	// example "poolctl image list".
	Command string
	// Message says what is wrong.
	Message string
	// Suggest is what was probably meant; "" when nothing is close.
	Suggest string
}

func (e *UsageError) Error() string { return e.Message }

// Hint is the line to print below the error.
func (e *UsageError) Hint() string {
	if e.Suggest != "" {
		return fmt.Sprintf("did you mean %s? See %s --help", e.Suggest, e.Command)
	}
	return "see " + e.Command + " --help"
}

// given is a flag as it stood on the command line.
type given struct {
	text  string // as written, for messages: "--size" or "-f"
	name  string
	value string
	has   bool // a value was given
}

// walk is the state of reading one command line.
type walk struct {
	app        *cli.App
	rules      Rules
	path       []*cli.Command
	flags      []given
	positional []string
	help       bool
}

// Canonical rewrites the command line argv, the program's name first, so that
// every flag stands before the arguments of its command: program, program's
// flags, command, command's flags, "--", arguments. A line that asks for help
// becomes one that asks only for help. Errors are *UsageError.
func Canonical(app *cli.App, rules Rules, argv []string) ([]string, error) {
	if len(argv) == 0 {
		return argv, nil
	}
	w := &walk{app: app, rules: rules}
	if err := w.read(argv[1:]); err != nil {
		return nil, err
	}
	if !w.leaf() && !w.help {
		w.descendDefault()
	}
	return w.build(argv[0])
}

// read sorts the words of the command line into path, flags and arguments.
func (w *walk) read(words []string) error {
	for i := 0; i < len(words); i++ {
		word := words[i]
		switch {
		case w.raw():
			w.positional = append(w.positional, words[i:]...)
			return nil
		case word == "--":
			if !w.leaf() {
				w.descendDefault()
			}
			if !w.leaf() && i+1 < len(words) {
				return w.unknownCommand(words[i+1])
			}
			w.positional = append(w.positional, words[i+1:]...)
			return nil
		case strings.HasPrefix(word, "--"):
			used, err := w.long(word[2:], words[i+1:])
			if err != nil {
				return err
			}
			i += used
		case strings.HasPrefix(word, "-") && len(word) > 1 && (word[1] < '0' || word[1] > '9'): // no flag is a digit: -5GiB is a size
			used, err := w.short(word[1:], words[i+1:])
			if err != nil {
				return err
			}
			i += used
		case w.leaf():
			w.positional = append(w.positional, word)
		default:
			if err := w.descend(word); err != nil {
				return err
			}
		}
	}
	return nil
}

// raw says whether the next word belongs to a foreign command line: two
// arguments, the instance and the command, have been read.
func (w *walk) raw() bool {
	return len(w.positional) >= 2 && slices.Contains(w.rules.Raw, w.pathName())
}

// leaf says whether the command reached takes arguments: has no subcommands.
func (w *walk) leaf() bool {
	return len(w.path) > 0 && len(w.path[len(w.path)-1].Subcommands) == 0
}

// commands are those that can come next.
func (w *walk) commands() []*cli.Command {
	if len(w.path) == 0 {
		return w.app.Commands
	}
	return w.path[len(w.path)-1].Subcommands
}

// descend goes to the subcommand of that name, or to the default one.
func (w *walk) descend(word string) error {
	if c := find(w.commands(), word); c != nil {
		w.path = append(w.path, c)
		return nil
	}
	if word == "help" {
		w.help = true
		return nil
	}
	if w.descendDefault() {
		w.positional = append(w.positional, word)
		return nil
	}
	return w.unknownCommand(word)
}

// descendDefault goes to the default subcommand, if the group has one.
func (w *walk) descendDefault() bool {
	name, ok := w.rules.Default[w.pathName()]
	if !ok {
		return false
	}
	w.path = append(w.path, find(w.commands(), name))
	return true
}

func (w *walk) unknownCommand(word string) error {
	var names []string
	for _, c := range w.commands() {
		if !c.Hidden {
			names = append(names, c.Names()...)
		}
	}
	return &UsageError{
		Command: w.fullName(), Suggest: quoteAll(w.fullName(), Closest(word, names)),
		Message: fmt.Sprintf("unknown command %q for %q", word, w.fullName()),
	}
}

// quoteAll is the whole suggested command line, quoted; "" when there is none.
func quoteAll(prefix, word string) string {
	if word == "" {
		return ""
	}
	return fmt.Sprintf("%q", prefix+" "+word)
}

// pathName is the command reached without the program's name.
func (w *walk) pathName() string {
	names := make([]string, len(w.path))
	for i, c := range w.path {
		names[i] = c.Name
	}
	return strings.Join(names, " ")
}

// fullName is the command reached with the program's name.
func (w *walk) fullName() string {
	return strings.TrimSpace(w.app.Name + " " + w.pathName())
}

func find(commands []*cli.Command, name string) *cli.Command {
	i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(name) })
	if i < 0 {
		return nil
	}
	return commands[i]
}
