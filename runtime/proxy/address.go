package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

// The kinds of addresses.
const (
	TCP  = "tcp"
	UDP  = "udp"
	Unix = "unix"
)

// Address is where a proxy device listens or what it connects to
// (https://linuxcontainers.org/incus/docs/main/reference/devices_proxy/).
type Address struct {
	// Kind is TCP, UDP or Unix.
	Kind string `json:"kind"`
	// IP and Ports are those of TCP and UDP; Ports has one at least, in the order in
	// which they were given.
	IP    netip.Addr `json:"ip,omitzero"`
	Ports []uint16   `json:"ports,omitempty"`
	// Path is an absolute path, clean, or with Abstract a name without a file (man 7
	// unix).
	Path     string `json:"path,omitempty"`
	Abstract bool   `json:"abstract,omitempty"`
}

// maxPath is how long the path or the abstract name of a socket can be: sun_path has
// 108 bytes (man 7 unix), of which one is a zero.
const maxPath = 107

// maxPorts is how many ports an address can have: each takes a socket and a moment.
const maxPorts = 1024

// Parse reads the form that the configuration has:
//
//	tcp:ADDRESS:PORTS, udp:ADDRESS:PORTS   PORTS is 80 or 80,443,8000-8010
//	unix:/PATH, unix:@NAME
//
// ADDRESS is a number, not a name, and an IPv6 one is in brackets.
func Parse(text string) (Address, error) {
	kind, rest, ok := strings.Cut(text, ":")
	a := Address{Kind: kind}
	var err error
	switch {
	case !ok:
		err = errors.New("it has no type: tcp:ADDRESS:PORT, udp:ADDRESS:PORT or unix:PATH")
	case kind == Unix:
		err = a.parsePath(rest)
	case kind == TCP || kind == UDP:
		err = a.parseHost(rest)
	default:
		err = fmt.Errorf("type %q is none of tcp, udp and unix", kind)
	}
	if err != nil {
		return Address{}, fmt.Errorf("invalid address %q: %w", text, err)
	}
	return a, nil
}

func (a *Address) parsePath(path string) error {
	if strings.ContainsRune(path, 0) {
		return errors.New("it has a NUL byte")
	}
	if name, abstract := strings.CutPrefix(path, "@"); abstract {
		a.Path, a.Abstract = name, true
		if name == "" || len(name) > maxPath {
			return fmt.Errorf("the abstract name has to have 1 to %d bytes", maxPath)
		}
		return nil
	}
	a.Path = filepath.Clean(path)
	switch {
	case !filepath.IsAbs(path), a.Path == "/", strings.HasSuffix(path, "/"):
		return errors.New("want the absolute path of a socket, or @NAME")
	case len(a.Path) > maxPath:
		return fmt.Errorf("the path of a socket can have %d bytes, this one has %d", maxPath, len(a.Path))
	}
	return nil
}

func (a *Address) parseHost(text string) error {
	host, ports, err := cutHost(text)
	if err != nil {
		return err
	}
	if a.IP, err = netip.ParseAddr(host); err != nil || a.IP.Zone() != "" {
		return fmt.Errorf("%q is no IP address", host)
	}
	if strings.HasPrefix(text, "[") != a.IP.Is6() {
		return errors.New("an IPv6 address is in brackets, an IPv4 one is not: tcp:[::1]:80")
	}
	a.IP = a.IP.Unmap()
	a.Ports, err = parsePorts(ports)
	return err
}

// cutHost cuts ADDRESS:PORTS, and the brackets away.
func cutHost(text string) (host, ports string, err error) {
	if inner, is := strings.CutPrefix(text, "["); is {
		host, ports, ok := strings.Cut(inner, "]:")
		if !ok {
			return "", "", errors.New("after an address in brackets comes :PORT")
		}
		return host, ports, nil
	}
	host, ports, ok := strings.Cut(text, ":")
	switch {
	case !ok:
		return "", "", errors.New("it has no port")
	case strings.Contains(ports, ":"):
		return "", "", errors.New("an IPv6 address is in brackets: tcp:[::1]:80")
	}
	return host, ports, nil
}

func parsePorts(text string) ([]uint16, error) {
	var out []uint16
	seen := map[uint16]bool{}
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := parsePort(first)
		if err != nil {
			return nil, err
		}
		to, err := parsePort(last)
		if err != nil {
			return nil, err
		}
		if to < from {
			return nil, fmt.Errorf("the range %s ends before it begins", part)
		}
		if len(out)+int(to-from)+1 > maxPorts {
			return nil, fmt.Errorf("more than %d ports", maxPorts)
		}
		for p := int(from); p <= int(to); p++ {
			if seen[uint16(p)] {
				return nil, fmt.Errorf("port %d is there twice", p)
			}
			seen[uint16(p)] = true
			out = append(out, uint16(p))
		}
	}
	return out, nil
}

func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 || text[0] == '+' {
		return 0, fmt.Errorf("%q is no port: want 1 to 65535", text)
	}
	return uint16(n), nil
}

// String is the address in the form of Parse, with ranges where ports follow each
// other.
func (a Address) String() string {
	switch {
	case a.Kind == Unix && a.Abstract:
		return "unix:@" + a.Path
	case a.Kind == Unix:
		return "unix:" + a.Path
	}
	host := a.IP.String()
	if a.IP.Is6() {
		host = "[" + host + "]"
	}
	return a.Kind + ":" + host + ":" + a.portText()
}

func (a Address) portText() string {
	var parts []string
	for i := 0; i < len(a.Ports); {
		j := i
		for j+1 < len(a.Ports) && a.Ports[j+1] == a.Ports[j]+1 {
			j++
		}
		text := strconv.Itoa(int(a.Ports[i]))
		if j > i {
			text += "-" + strconv.Itoa(int(a.Ports[j]))
		}
		parts = append(parts, text)
		i = j + 1
	}
	return strings.Join(parts, ",")
}

// Overlaps says whether both cannot be listened on in one place, and names what they
// have in common, for messages. An address that stands for all of them (0.0.0.0, [::],
// which is for IPv4, too) overlaps each of its kind.
func (a Address) Overlaps(b Address) (common string, yes bool) {
	if a.Kind != b.Kind {
		return "", false
	}
	if a.Kind == Unix {
		return a.String(), a.Path == b.Path && a.Abstract == b.Abstract
	}
	if a.IP != b.IP && !covers(a.IP, b.IP) && !covers(b.IP, a.IP) {
		return "", false
	}
	has := map[uint16]bool{}
	for _, p := range a.Ports {
		has[p] = true
	}
	for _, p := range b.Ports {
		if has[p] {
			return fmt.Sprintf("%s port %d", a.Kind, p), true
		}
	}
	return "", false
}

// covers says whether to listen on all is to listen on one.
func covers(all, one netip.Addr) bool {
	return all.IsUnspecified() && (all.Is6() || one.Is4())
}
