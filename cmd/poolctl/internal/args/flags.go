package args

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// long reads --name, --name=value or --name value. It returns how many of the
// words after it belong to it.
func (w *walk) long(text string, rest []string) (int, error) {
	name, value, has := strings.Cut(text, "=")
	g := given{text: "--" + name, name: name, value: value, has: has}
	if name == "help" && !has {
		w.help = true
		return 0, nil
	}
	if len(name) < 2 {
		return 0, w.unknownFlag(g)
	}
	return w.take(g, rest)
}

// short reads the letters of -abc: each one a flag, until one takes a value,
// which is the rest of the word or the next word.
func (w *walk) short(letters string, rest []string) (int, error) {
	for i, r := range letters {
		name := string(r)
		g := given{text: "-" + name, name: name}
		if name == "h" {
			w.help = true
			continue
		}
		if len(letters) > 1 {
			g.text += " in -" + letters
		}
		takes, err := w.takesValue(g)
		if err != nil {
			return 0, w.suggestLong(err, letters)
		}
		tail := letters[i+len(name):]
		if !takes {
			if v, ok := strings.CutPrefix(tail, "="); ok {
				g.value, g.has = v, true
				w.flags = append(w.flags, g)
				return 0, nil
			}
			w.flags = append(w.flags, g)
			continue
		}
		if tail != "" {
			g.value, g.has = strings.TrimPrefix(tail, "="), true
		}
		return w.take(g, rest)
	}
	return 0, nil
}

// take notes the flag, with the next word when it needs a value and has none.
func (w *walk) take(g given, rest []string) (int, error) {
	takes, err := w.takesValue(g)
	if err != nil {
		return 0, err
	}
	used := 0
	if takes && !g.has {
		if len(rest) == 0 {
			return 0, &UsageError{Command: w.fullName(), Message: "flag needs a value: " + g.text}
		}
		g.value, g.has, used = rest[0], true, 1
	}
	w.flags = append(w.flags, g)
	return used, nil
}

// takesValue finds the flag in the command reached and in the program, and,
// before the command is reached, in all that may follow, if these agree.
func (w *walk) takesValue(g given) (bool, error) {
	if len(w.path) > 0 {
		if f := findFlag(w.path[len(w.path)-1].Flags, g.name); f != nil {
			return takes(f), nil
		}
	}
	if f := findFlag(w.app.Flags, g.name); f != nil {
		return takes(f), nil
	}
	var kinds []bool
	collect(w.commands(), g.name, &kinds)
	if len(kinds) == 0 {
		return false, w.unknownFlag(g)
	}
	for _, k := range kinds {
		if k != kinds[0] {
			return false, &UsageError{Command: w.fullName(), Message: fmt.Sprintf("flag %s has to come after the command", g.text)}
		}
	}
	return kinds[0], nil
}

// collect notes for each flag of that name below the commands whether it takes
// a value.
func collect(commands []*cli.Command, name string, kinds *[]bool) {
	for _, c := range commands {
		if f := findFlag(c.Flags, name); f != nil {
			*kinds = append(*kinds, takes(f))
		}
		collect(c.Subcommands, name, kinds)
	}
}

// build resolves the flags and puts the command line together.
func (w *walk) build(program string) ([]string, error) {
	var own []cli.Flag
	if len(w.path) > 0 {
		own = w.path[len(w.path)-1].Flags
	}
	var global, local []string
	for _, g := range w.flags {
		switch f, rootFlag := findFlag(own, g.name), findFlag(w.app.Flags, g.name); {
		case f != nil:
			local = append(local, form(f, g))
		case rootFlag != nil && !w.help && len(w.path) > 0 && slices.Contains(w.rules.Forwarded, rootFlag.Names()[0]):
			return nil, &UsageError{Command: w.fullName(), Message: fmt.Sprintf("flag %s has no meaning for %q", g.text, w.fullName())}
		case rootFlag != nil:
			global = append(global, form(rootFlag, g))
		default:
			return nil, w.unknownFlag(g)
		}
	}
	out := append([]string{program}, global...)
	for _, c := range w.path {
		out = append(out, c.Name)
	}
	if w.help {
		return append(out, "--help"), nil
	}
	out = append(out, local...)
	if len(w.positional) > 0 {
		out = append(append(out, "--"), w.positional...)
	}
	return out, nil
}

// form writes the flag under its first name.
func form(f cli.Flag, g given) string {
	name := "--" + f.Names()[0]
	if g.has {
		return name + "=" + g.value
	}
	return name
}

func (w *walk) unknownFlag(g given) error {
	var names []string
	add := func(flags []cli.Flag) {
		for _, f := range flags {
			names = append(names, f.Names()...)
		}
	}
	add(w.app.Flags)
	if len(w.path) > 0 {
		add(w.path[len(w.path)-1].Flags)
	}
	e := &UsageError{Command: w.fullName(), Message: "unknown flag " + g.text}
	if s := Closest(g.name, names); len(g.name) > 1 && len(s) > 1 {
		e.Suggest = "--" + s
	}
	return e
}

// suggestLong proposes --force for -force.
func (w *walk) suggestLong(err error, letters string) error {
	usage, ok := err.(*UsageError) //nolint:errorlint // made by this package, never wrapped
	if !ok || len(letters) < 2 {
		return err
	}
	name, _, _ := strings.Cut(letters, "=")
	if len(w.path) > 0 && findFlag(w.path[len(w.path)-1].Flags, name) != nil || findFlag(w.app.Flags, name) != nil {
		usage.Message, usage.Suggest = "unknown flag -"+name, "--"+name
	}
	return usage
}

func findFlag(flags []cli.Flag, name string) cli.Flag {
	i := slices.IndexFunc(flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), name) })
	if i < 0 {
		return nil
	}
	return flags[i]
}

// takes says whether the flag needs a value.
func takes(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}
