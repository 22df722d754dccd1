package wait

import "syscall"

// Name is argv[0] of supervisors, waiting or not.
const Name = "poolctl-supervisor"

// Words in the place of the third argument: what the process is executed for.
const (
	// Waiting is for this package.
	Waiting = "waits"
	// Ended is for the supervisor proper: the instance's init has ended.
	Ended = "ended"
)

// Config is what a supervisor hands to itself over an execve, as arguments.
// Descriptors are -1 where there is none.
type Config struct {
	// Name is the instance's.
	Name string
	// RunDir is its run directory, Log the file for what it writes to its console,
	// which may be empty.
	RunDir, Log string
	// Init is a pidfd of its PID 1, Lock the run directory's lock.
	Init, Lock int
	// Console is the master of its console, Slave the other end, which keeps it
	// from hanging up while nobody inside has it open.
	Console, Slave int
	// LogFile is Log, open for appending.
	LogFile int
	// Listener is the socket in the run directory that takers of the console
	// connect to, Client the one who has it.
	Listener, Client int
	// Upkeep is 1 when the conditions in the run directory are to be looked at.
	Upkeep int
	// Down is 1 when the host shuts down.
	Down int
}

// fields are the numbers of a Config with their names.
func (c *Config) fields() [9]field {
	return [...]field{
		{"init", &c.Init, true},
		{"lock", &c.Lock, true},
		{"console", &c.Console, true},
		{"slave", &c.Slave, true},
		{"logfile", &c.LogFile, true},
		{"listener", &c.Listener, true},
		{"client", &c.Client, true},
		{"upkeep", &c.Upkeep, false},
		{"down", &c.Down, false},
	}
}

type field struct {
	name  string
	value *int
	fd    bool
}

// Args is the argument vector that says it all. What is one of Waiting and Ended.
func (c *Config) Args(what string) []string {
	out := []string{Name, c.Name, what, "rundir=" + c.RunDir, "log=" + c.Log}
	for _, f := range c.fields() {
		if *f.value >= 0 {
			out = append(out, f.name+"="+decimal(*f.value))
		}
	}
	return out
}

// Parse reads what Args has made; ok is false for other arguments.
func Parse(args []string) (c Config, what string, ok bool) {
	if len(args) < 3 || args[0] != Name {
		return c, "", false
	}
	for _, f := range c.fields() {
		if f.fd {
			*f.value = -1
		}
	}
	c.Name = args[1]
	for _, arg := range args[3:] {
		key, value := cut(arg)
		switch key {
		case "rundir":
			c.RunDir = value
		case "log":
			c.Log = value
		default:
			if !c.set(key, value) {
				return c, "", false
			}
		}
	}
	return c, args[2], true
}

func (c *Config) set(key, value string) bool {
	for _, f := range c.fields() {
		if f.name == key {
			n, ok := number([]byte(value))
			*f.value = int(n) //nolint:gosec // checked
			return ok && n < 1<<31
		}
	}
	return false
}

// Inherit lets the descriptors survive an execve, or not: no child is to have
// them.
func (c *Config) Inherit(yes bool) {
	flag := uintptr(syscall.FD_CLOEXEC)
	if yes {
		flag = 0
	}
	for _, f := range c.fields() {
		if f.fd && *f.value >= 0 {
			_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, uintptr(*f.value), syscall.F_SETFD, flag) // it is open
		}
	}
}

// Exec executes the program anew. It returns only on failure, with the
// descriptors as they were.
func (c *Config) Exec(what string) error {
	c.Inherit(true)
	err := syscall.Exec("/proc/self/exe", c.Args(what), syscall.Environ())
	c.Inherit(false)
	return err
}

func cut(s string) (key, value string) {
	for i := range len(s) {
		if s[i] == '=' {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// decimal is strconv.Itoa of a number that is not negative.
func decimal(n int) string { return text64(uint64(n)) } //nolint:gosec // not negative

// number reads a decimal number.
func number(text []byte) (n uint64, ok bool) {
	if len(text) == 0 || len(text) > 20 {
		return 0, false
	}
	for _, c := range text {
		d := uint64(c - '0')
		if c < '0' || c > '9' || n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = 10*n + d
	}
	return n, true
}
