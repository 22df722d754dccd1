package args

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"
)

func testApp() *cli.App {
	format := func() cli.Flag { return &cli.StringFlag{Name: "format", Aliases: []string{"f"}} }
	force := func() cli.Flag { return &cli.BoolFlag{Name: "force", Aliases: []string{"f"}} }
	return &cli.App{
		Name: "poolctl",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "root"}, &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}}, &cli.StringFlag{Name: "format"},
		},
		Commands: []*cli.Command{
			{Name: "list", Aliases: []string{"ls"}, Flags: []cli.Flag{format(), &cli.StringFlag{Name: "columns", Aliases: []string{"c"}}}},
			{Name: "stop", Flags: []cli.Flag{force(), &cli.IntFlag{Name: "timeout"}}},
			{Name: "create", Aliases: []string{"init"}, Flags: []cli.Flag{&cli.StringSliceFlag{Name: "config", Aliases: []string{"c"}}}},
			{Name: "exec", Flags: []cli.Flag{&cli.StringSliceFlag{Name: "env"}, &cli.BoolFlag{Name: "t"}, &cli.BoolFlag{Name: "n"}}},
			{Name: "image", Subcommands: []*cli.Command{
				{Name: "list", Flags: []cli.Flag{format()}}, {Name: "delete"}, {Name: "pull", Aliases: []string{"copy"}, Flags: []cli.Flag{&cli.StringSliceFlag{Name: "alias"}}},
			}},
			{Name: "snapshot", Subcommands: []*cli.Command{
				{Name: "create", Flags: []cli.Flag{&cli.BoolFlag{Name: "reuse"}}}, {Name: "list", Flags: []cli.Flag{format()}},
			}},
		},
	}
}

func testRules() Rules {
	return Rules{Raw: []string{"exec"}, Default: map[string]string{"snapshot": "create"}, Forwarded: []string{"format"}}
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		"list":                            "list",
		"ls c1 --format csv -c 4":         "list --format=csv --columns=4 -- c1",
		"list -fcsv":                      "list --format=csv",
		"list -f=csv":                     "list --format=csv",
		"list -f csv":                     "list --format=csv",
		"list --format=":                  "list --format=",
		"list -f --":                      "list --format=--",
		"--format json list":              "list --format=json",
		"--root /x list":                  "--root=/x list",
		"list --root /x":                  "--root=/x list",
		"list --root=a=b":                 "--root=a=b list",
		"-q stop -f c1 c2":                "--quiet stop --force -- c1 c2",
		"stop c1 c2 -fq":                  "--quiet stop --force -- c1 c2",
		"stop c1 --timeout 5 -f":          "stop --timeout=5 --force -- c1",
		"stop --force=false c1":           "stop --force=false -- c1",
		"stop -f=false c1":                "stop --force=false -- c1",
		"stop --timeout -1 c1":            "stop --timeout=-1 -- c1",
		"stop -- -f":                      "stop -- -f",
		"stop c1 -5GiB":                   "stop -- c1 -5GiB",
		"stop - c1":                       "stop -- - c1",
		"stop --force c1 -- --force":      "stop --force -- c1 --force",
		"init a c1 -c a=1 -c b=2,3":       "create --config=a=1 --config=b=2,3 -- a c1",
		"exec c1 -- ls -la":               "exec -- c1 ls -la",
		"exec c1 ls -la":                  "exec -- c1 ls -la",
		"exec c1 --env A=b -t -- ls -t":   "exec --env=A=b --t -- c1 ls -t",
		"exec -tn c1 ls -h":               "exec --t --n -- c1 ls -h",
		"exec c1 grep -- -x f":            "exec -- c1 grep -- -x f",
		"exec c1 -- grep -- -x f":         "exec -- c1 grep -- -x f",
		"exec -- c1 -x":                   "exec -- c1 -x",
		"exec c1 -q -- sh -c x":           "--quiet exec -- c1 sh -c x",
		"exec c1 sh --help":               "exec -- c1 sh --help",
		"image copy a:b local: --alias x": "image pull --alias=x -- a:b local:",
		"image --format json list":        "image list --format=json",
		"--alias x image pull a:b":        "image pull --alias=x -- a:b",
		"image":                           "image",
		"snapshot c1":                     "snapshot create -- c1",
		"snapshot c1 s0 --reuse":          "snapshot create --reuse -- c1 s0",
		"snapshot --reuse c1":             "snapshot create --reuse -- c1",
		"snapshot create c1":              "snapshot create -- c1",
		"snapshot list c1":                "snapshot list -- c1",
		"snapshot -- list":                "snapshot create -- list",
		"snapshot":                        "snapshot create",
		"list -h":                         "list --help",
		"list c1 --help --format json":    "list --help",
		"help":                            "--help",
		"help image list":                 "image list --help",
		"image help":                      "image --help",
		"snapshot --help":                 "snapshot --help",
		"help snapshot":                   "snapshot --help",
		"--help":                          "--help",
		"--format json --help":            "--help",
		"list help":                       "list -- help",
	} {
		got, err := Canonical(testApp(), testRules(), append([]string{"poolctl"}, strings.Fields(in)...))
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if in == "--format json --help" {
			got = slices.DeleteFunc(got, func(s string) bool { return s == "--format=json" })
		}
		if diff := cmp.Diff(append([]string{"poolctl"}, strings.Fields(want)...), got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", in, diff)
		}
	}
}

func TestCanonicalErrors(t *testing.T) {
	for in, want := range map[string]struct{ message, suggest, command string }{
		"lst":                     {`unknown command "lst" for "poolctl"`, `"poolctl list"`, "poolctl"},
		"image lits":              {`unknown command "lits" for "poolctl image"`, `"poolctl image list"`, "poolctl image"},
		"image zzzzzz":            {`unknown command "zzzzzz" for "poolctl image"`, "", "poolctl image"},
		"-- list":                 {`unknown command "list" for "poolctl"`, `"poolctl list"`, "poolctl"},
		"list --fromat json":      {"unknown flag --fromat", "--format", "poolctl list"},
		"list --zzzzzz":           {"unknown flag --zzzzzz", "", "poolctl list"},
		"list -z":                 {"unknown flag -z", "", "poolctl list"},
		"list -qz":                {"unknown flag -z in -qz", "", "poolctl list"},
		"stop -force c1":          {"unknown flag -force", "--force", "poolctl stop"},
		"list -format=json":       {"", "", ""}, // -f with the value "ormat=json", as lxc reads it
		"list --format":           {"flag needs a value: --format", "", "poolctl list"},
		"list -c":                 {"flag needs a value: -c", "", "poolctl list"},
		"-f list":                 {"flag -f has to come after the command", "", "poolctl"},
		"--format json stop c1":   {`flag --format has no meaning for "poolctl stop"`, "", "poolctl stop"},
		"stop c1 --format json":   {`flag --format has no meaning for "poolctl stop"`, "", "poolctl stop"},
		"--alias x list":          {"unknown flag --alias", "", "poolctl list"},
		"exec c1 -x -- ls":        {"unknown flag -x", "", "poolctl exec"},
		"list --=x":               {"unknown flag --", "", "poolctl list"},
		"list --c=4":              {"unknown flag --c", "", "poolctl list"},
		"snapshot create c1 --no": {"unknown flag --no", "", "poolctl snapshot create"},
	} {
		_, err := Canonical(testApp(), testRules(), append([]string{"poolctl"}, strings.Fields(in)...))
		var u *UsageError
		if want.message == "" {
			if err != nil {
				t.Errorf("%q: %v", in, err)
			}
			continue
		}
		if !errors.As(err, &u) {
			t.Errorf("%q: %v; want a usage error", in, err)
			continue
		}
		if u.Message != want.message || u.Suggest != want.suggest || u.Command != want.command {
			t.Errorf("%q: %q, suggest %q, command %q; want %+v", in, u.Message, u.Suggest, u.Command, want)
		}
		if !strings.Contains(u.Hint(), want.command+" --help") || want.suggest != "" && !strings.Contains(u.Hint(), want.suggest) {
			t.Errorf("%q: hint %q", in, u.Hint())
		}
	}
}

// TestCanonicalParses runs what Canonical wrote through the cli package: the
// values have to arrive.
func TestCanonicalParses(t *testing.T) {
	for _, c := range []struct {
		line    []string
		columns string
		quiet   bool
		rest    []string
	}{
		{[]string{"list", "--", "-c", "list"}, "", false, []string{"-c", "list"}},
		{[]string{"list", "x", "-q", "-c4"}, "4", true, []string{"x"}},
		{[]string{"list", "columns", "--columns="}, "", false, []string{"columns"}},
	} {
		app := testApp()
		ran := false
		app.Commands[0].Action = func(ctx *cli.Context) error {
			ran = true
			if got := ctx.String("columns"); got != c.columns || ctx.Bool("quiet") != c.quiet {
				t.Errorf("%q: columns %q, quiet %v", c.line, got, ctx.Bool("quiet"))
			}
			if diff := cmp.Diff(c.rest, ctx.Args().Slice()); diff != "" {
				t.Errorf("%q: arguments (-want +got):\n%s", c.line, diff)
			}
			return nil
		}
		argv, err := Canonical(app, testRules(), append([]string{"poolctl"}, c.line...))
		if err != nil {
			t.Fatal(err)
		}
		if err := app.Run(argv); err != nil || !ran {
			t.Fatalf("%q: ran %v, %v", argv, ran, err)
		}
	}
}

func TestClosest(t *testing.T) {
	for _, c := range []struct{ word, want string }{
		{"lst", "list"},
		{"lsit", "list"},
		{"delte", "delete"},
		{"x", ""},
		{"", ""},
		{"storage", ""},
		{"Restart", "restart"},
		{"rest", ""},
		{"resta", "restart"},
		{"del", "delete"},
		{"d", ""},
	} {
		if got := Closest(c.word, []string{"list", "delete", "restart", "restore"}); got != c.want {
			t.Errorf("Closest(%q) = %q; want %q", c.word, got, c.want)
		}
	}
}

// FuzzCanonical: whatever is typed, the result keeps the order of the
// arguments, puts every flag before them, and reading it again changes nothing.
func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"list c1 -f csv", "exec c1 -- ls -la", "snapshot c1", "-q stop -f a b", "image pull a:b --alias=x", "-- x", "stop -- -f", "help image"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		argv := append([]string{"poolctl"}, strings.Split(line, " ")...)
		got, err := Canonical(testApp(), testRules(), argv)
		if err != nil {
			var u *UsageError
			if !errors.As(err, &u) || u.Message == "" || u.Command == "" {
				t.Fatalf("%q: %#v", line, err)
			}
			return
		}
		again, err := Canonical(testApp(), testRules(), got)
		if err != nil {
			t.Fatalf("%q gave %q, which is refused: %v", line, got, err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Fatalf("%q gave %q, read again (-first +second):\n%s", line, got, diff)
		}
		if i := slices.Index(got, "--"); i >= 0 {
			rest := argv[1:]
			for _, p := range got[i+1:] {
				j := slices.IndexFunc(rest, func(s string) bool { return s == p })
				if j < 0 {
					t.Fatalf("%q gave %q: argument %q out of order", line, got, p)
				}
				rest = rest[j+1:]
			}
		}
	})
}
