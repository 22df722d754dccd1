package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"poolctl/cmd/poolctl/internal/ask"
	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

func TestStateDir(t *testing.T) {
	for _, c := range []struct{ env, flag, want string }{
		{"", "", defaultRoot}, {"/a", "", "/a"}, {"/a", "/b", "/b"}, {"", "/b", "/b"},
	} {
		t.Setenv("POOLCTL_DIR", c.env)
		e, _, _ := testEnv(t)
		argv := []string{"poolctl", "version"}
		if c.flag != "" {
			argv = append(argv, "--root", c.flag)
		}
		if err := e.main(t.Context(), argv); err != nil || e.stateDir() != c.want {
			t.Errorf("%+v: %q, %v", c, e.stateDir(), err)
		}
	}
}

func TestCreatePoolOptions(t *testing.T) {
	type config = map[string]string
	for _, c := range []struct {
		args  string
		flags poolCreateFlags
		want  pool.CreatePoolOptions
	}{
		{"p", poolCreateFlags{}, pool.CreatePoolOptions{Name: "p", Config: config{}}},
		{"p btrfs size=2GiB", poolCreateFlags{source: "/x", compress: "lzo", reserve: true, wipe: "/y"}, pool.CreatePoolOptions{Name: "p", Driver: "btrfs", Config: config{"size": "2GiB", "source": "/x", "compress": "lzo", "reserve": "true", "source.wipe": "/y"}}},
		{"p size=2GiB user.a=b=c", poolCreateFlags{size: "2GiB"}, pool.CreatePoolOptions{Name: "p", Config: config{"size": "2GiB", "user.a": "b=c"}}},
		{"p dir", poolCreateFlags{}, pool.CreatePoolOptions{Name: "p", Driver: "dir", Config: config{}}}, // package pool refuses it
	} {
		got, err := createPoolOptions(strings.Fields(c.args), c.flags.config())
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s", c.args, err, diff)
		}
	}
	for _, bad := range []string{"p btrfs zfs", "p btrfs =x", "p size=1GiB size"} {
		if _, err := createPoolOptions(strings.Fields(bad), nil); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestCreateOptions(t *testing.T) {
	o := createOptions{storage: "p", network: "n", description: "d", config: *cli.NewStringSlice("a=b", "c=")}
	got, err := o.options("create", os.Stdin, []string{"img"})
	want := pool.CreateOptions{Image: "img", Pool: "p", Network: "n", Description: "d", Config: map[string]string{"a": "b", "c": ""}}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	o = createOptions{noProfiles: true}
	if got, err = o.options("create", os.Stdin, []string{"img", "c1"}); err != nil || got.Profiles == nil || len(got.Profiles) != 0 || got.Name != "c1" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestCreateOptionsOnInput gives a file, of which only the beginning is for create.
func TestCreateOptionsOnInput(t *testing.T) {
	file := func(text string) *os.File {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	const text = "config: {user.a: x, user.b: y, volatile.eth0.hwaddr: 00:16:3e:00:00:01}\ndevices: {d: {type: none}}\nephemeral: true\nprofiles: [p1]\ndescription: of the file\n"
	o := createOptions{config: *cli.NewStringSlice("user.a=b")}
	got, err := o.options("create", file(text), []string{"img", "c1"})
	want := pool.CreateOptions{
		Image: "img", Name: "c1", Description: "of the file", Config: map[string]string{"user.a": "b", "user.b": "y"}, Profiles: []string{"p1"}, Ephemeral: true,
		Devices: map[string]map[string]string{"d": {"type": "none"}},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	o = createOptions{description: "d", profiles: *cli.NewStringSlice("p2"), config: *cli.NewStringSlice("user.a=b")}
	if got, err = o.options("create", file(text), []string{"img"}); err != nil || got.Description != "d" || len(got.Profiles) != 1 || got.Profiles[0] != "p2" {
		t.Errorf("flags over the file: %+v, %v", got, err)
	}
	for _, empty := range []string{"", "\n", "# nothing\n"} {
		if got, err = (&createOptions{}).options("create", file(empty), []string{"img"}); err != nil || got.Profiles != nil || len(got.Config) > 0 {
			t.Errorf("%q: %+v, %v", empty, got, err)
		}
	}
	for _, bad := range []string{"web1\nweb2\n", "confg: {}\n", "stateful: true\n", "config: [\n", "#" + strings.Repeat("x", maxValue)} {
		if _, err = (&createOptions{}).options("create", file(bad), []string{"img"}); err == nil {
			t.Errorf("%.20q is taken", bad)
		}
	}
	// The shell has read a line of it: the rest is the shell's.
	list := file("web1\nweb2\n")
	if _, err := list.Seek(5, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err = (&createOptions{}).options("create", list, []string{"img", "web1"}); err != nil {
		t.Error(err)
	}
	if rest, err := io.ReadAll(list); err != nil || string(rest) != "web2\n" {
		t.Errorf("left in the list: %q, %v", rest, err)
	}
}

func TestFlagIsNoNumber(t *testing.T) {
	for line, want := range map[string]string{
		"exec --user root c1 -- id":          `invalid value "root" for --user: not a number, or one out of range`,
		"exec --group=-1 c1 -- id":           `invalid value "-1" for --group: not a number, or one out of range`,
		"stop --timeout 1e99999 c1":          `invalid value "1e99999" for --timeout: not a number, or one out of range`,
		"top --refresh 99999999999999999999": `invalid value "99999999999999999999" for --refresh: not a number, or one out of range`,
	} {
		e, _, _ := testEnv(t)
		err := e.main(t.Context(), append([]string{"poolctl", "--root", t.TempDir()}, strings.Fields(line)...))
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

func TestWantsTTY(t *testing.T) {
	for _, c := range []struct {
		o    execOptions
		auto bool
		want bool
	}{
		{execOptions{mode: "auto"}, true, true},
		{execOptions{mode: "auto"}, false, false},
		{execOptions{mode: "auto", tty: true}, false, true},
		{execOptions{mode: "auto", noTTY: true}, true, false},
		{execOptions{mode: "auto", noStdin: true}, true, false},
		{execOptions{mode: "interactive"}, false, true},
		{execOptions{mode: "non-interactive"}, true, false},
	} {
		if got, err := c.o.wantsTTY(c.auto); got != c.want || err != nil {
			t.Errorf("%+v, auto %v: %v, %v", c.o, c.auto, got, err)
		}
	}
	for _, o := range []execOptions{{mode: "auto", tty: true, noTTY: true}, {mode: "interactive", tty: true}, {mode: "x"}} {
		if _, err := o.wantsTTY(true); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

func TestAskInit(t *testing.T) {
	devices, err := filepath.Glob("/dev/loop[0-9]*")
	if err != nil || len(devices) == 0 {
		t.Fatalf("no block device here: %v", err)
	}
	device := devices[0]
	for answers, want := range map[string]pool.InitOptions{
		"\n\n\n\n\n\n\n\n\n":       {PoolName: "default", PoolSize: "2GiB", Network: "poolbr0", IPv4: "auto", IPv6: "auto"},
		"no\nno\n":                 {},
		"yes\nfast\n\n\n1.5\nno\n": {PoolName: "fast", PoolSize: "1.5GiB"},
		"y\nfast\ny\nn\nlots\n-1\n500MB\ny\nbr1\nx\n10.1.2.1/24\nnone\n": {PoolName: "fast", PoolSize: "500MB", Network: "br1", IPv4: "10.1.2.1/24", IPv6: "none"},
		"\n\nyes\nyes\n/dev/nosuch\n/dev/null\n" + device + "\nno\n":     {PoolName: "default", PoolSource: device},
		"\n\nno\n\n/dev/nosuch\n/dev\nno\n":                              {PoolName: "default", PoolSource: "/dev"},
	} {
		var got pool.InitOptions
		var asked strings.Builder
		a := ask.New(strings.NewReader(answers), &asked)
		err := askPool(a, &got)
		if err == nil {
			err = askNetwork(a, &got)
		}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v (-want +got):\n%s\n%s", answers, err, diff, asked.String())
		}
	}
}

func TestInitOptions(t *testing.T) {
	o := initOptions{pool: "p", sizeGiB: 3, loop: true, source: "/x", network: "br", ipv4: "auto", ipv6: "none"}
	if diff := cmp.Diff(pool.InitOptions{PoolName: "p", PoolSize: "3GiB", PoolSource: "/x", Network: "br", IPv4: "auto", IPv6: "none"}, o.options()); diff != "" {
		t.Error(diff)
	}
	o.network = noNetwork
	if diff := cmp.Diff(pool.InitOptions{PoolName: "p", PoolSize: "3GiB", PoolSource: "/x"}, o.options()); diff != "" {
		t.Error(diff)
	}
	o.loop = false
	if diff := cmp.Diff(pool.InitOptions{PoolName: "p", DefaultSize: "3GiB", PoolSource: "/x"}, o.options()); diff != "" {
		t.Error(diff)
	}
	o.source, o.device = "", "/dev/x"
	if diff := cmp.Diff(pool.InitOptions{PoolName: "p", PoolSource: "/dev/x"}, o.options()); diff != "" {
		t.Error(diff)
	}
}

func TestPreseed(t *testing.T) {
	file, err := readPreseed(strings.NewReader(`
storage_pools:
- {name: default, driver: btrfs, config: {size: 1GiB}}
networks:
- {name: br1, type: bridge, config: {ipv4.address: auto}}
profiles:
- name: default
  devices:
    root: {path: /, pool: default, type: disk}
    eth0: {name: eth0, network: br1, type: nic}
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Pools) != 1 || file.Pools[0].Config["size"] != "1GiB" || len(file.Networks) != 1 || file.Networks[0].Name != "br1" {
		t.Errorf("%+v", file)
	}
	got, err := file.profile()
	if diff := cmp.Diff(pool.InitOptions{PoolName: "default", Network: "br1", Silent: true}, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"a: b", "[", "networks: [{name: n, type: ovn}]", strings.Repeat(" ", preseedLimit+1)} {
		if _, err := readPreseed(strings.NewReader(bad)); err == nil {
			t.Errorf("%.20q is taken", bad)
		}
	}
}

func FuzzReadPreseed(f *testing.F) {
	f.Add("storage_pools:\n- {name: default, driver: btrfs}\nprofiles:\n- {name: default, devices: {root: {path: /, pool: default, type: disk}}}")
	f.Add("{}")
	f.Fuzz(func(t *testing.T, text string) {
		file, err := readPreseed(strings.NewReader(text))
		if err != nil {
			return
		}
		if o, err := file.profile(); err == nil && len(file.Profiles) == 0 && (o.PoolName != "" || o.Network != "") {
			t.Fatalf("%q sets the profile up: %+v", text, o)
		}
	})
}

func TestNetworkList(t *testing.T) {
	networks := []pool.Network{
		{Name: "br10", Type: "bridge", Managed: true, Status: "Created", Config: map[string]string{"ipv4.address": "10.1.2.1/24", "ipv6.address": "fd42::1/64"}, UsedBy: []string{"a", "b"}},
		{Name: "lo", Type: "loopback"},
		{Name: "ifb0", Type: "unknown"},
		{Name: "br9", Type: "bridge"},
		{Name: "eth0", Type: "physical"},
	}
	for columns, want := range map[string]string{
		"ntm46dus": "br9,bridge,NO,,,,0,\nbr10,bridge,YES,10.1.2.1/24,fd42::1/64,,2,CREATED\neth0,physical,NO,,,,0,\n",
		"n":        "br9\nbr10\neth0\n",
	} {
		cols, err := networkColumns(columns)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := networkList(networks, cols).Write(&b, output.CSV); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", columns, diff)
		}
	}
}
