package relay

import "syscall"

// Name is argv[0] of the process.
const Name = "poolctl-proxy"

// The descriptors that the process is started with.
const (
	// Status gets Ready, or what is wrong. Unless a byte comes back, the process ends:
	// nobody knows of it.
	Status = 1
	// Log takes lines of text.
	Log = 2
	// Init is the pidfd of the instance's init.
	Init = 3
	// FirstListener is the first of Listeners.
	FirstListener = 4
)

// Ready is what Status gets when the process takes connections.
const Ready = "ready\n"

// Config is what the process is told, as arguments.
type Config struct {
	// Instance and Device are names, for messages.
	Instance, Device string
	// Target is what it connects to, for messages.
	Target string
	// Listeners is the number of sockets that it listens on.
	Listeners int
	// Datagrams says that they are of udp. Unix that they are of unix.
	Datagrams, Unix bool
	// ToDatagrams and ToUnix say the same of the target.
	ToDatagrams, ToUnix bool
	// Header sends the header of the PROXY protocol.
	Header bool
	// Addresses are what it connects to, struct sockaddr: one, or one for each
	// listener.
	Addresses [][]byte
}

func (c *Config) flags() [5]flag {
	return [...]flag{
		{"udp", &c.Datagrams},
		{"unix", &c.Unix},
		{"toudp", &c.ToDatagrams},
		{"tounix", &c.ToUnix},
		{"header", &c.Header},
	}
}

type flag struct {
	name  string
	value *bool
}

// Args is the argument vector that says it all.
func (c *Config) Args() []string {
	out := []string{Name, c.Instance, c.Device, "target=" + c.Target, "listeners=" + itoa(c.Listeners)}
	for _, f := range c.flags() {
		if *f.value {
			out = append(out, f.name+"=1")
		}
	}
	for _, a := range c.Addresses {
		out = append(out, "to="+hex(a))
	}
	return out
}

// Parse reads what Args has made; ok is false for other arguments.
func Parse(args []string) (c Config, ok bool) {
	if len(args) < 3 || args[0] != Name {
		return c, false
	}
	c.Instance, c.Device = args[1], args[2]
	for _, arg := range args[3:] {
		key, value := cut(arg)
		if !c.set(key, value) {
			return c, false
		}
	}
	return c, c.Listeners > 0 && (len(c.Addresses) == 1 || len(c.Addresses) == c.Listeners)
}

func (c *Config) set(key, value string) (ok bool) {
	switch key {
	case "target":
		c.Target = value
		return true
	case "listeners":
		c.Listeners, ok = atoi(value)
		return ok
	case "to":
		a, ok := unhex(value)
		c.Addresses = append(c.Addresses, a)
		return ok && len(a) >= 2
	}
	for _, f := range c.flags() {
		if f.name == key {
			*f.value = true
			return value == "1"
		}
	}
	return false
}

// address is what a connection that came by a listener goes to.
func (c *Config) address(listener int) []byte {
	if len(c.Addresses) == 1 {
		return c.Addresses[0]
	}
	return c.Addresses[listener]
}

func (c *Config) say(text string) {
	_, _ = syscall.Write(Log, []byte(c.Instance+": device "+c.Device+": "+text+"\n")) // nobody to tell
}
