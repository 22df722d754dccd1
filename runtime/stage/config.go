package stage

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"poolctl/runtime/seccomp"
)

// Hierarchy is a cgroup hierarchy to mount inside.
type Hierarchy struct {
	// Dir is the directory's name below /sys/fs/cgroup; empty means that
	// directory itself (pure v2).
	Dir     string `json:"dir"`
	Unified bool   `json:"unified,omitempty"`
	// Controllers and Name choose a v1 hierarchy, see cgroup.Hierarchy.
	Controllers []string `json:"controllers,omitempty"`
	Name        string   `json:"name,omitempty"`
}

// Config is the supervisor's first message.
type Config struct {
	Hostname string   `json:"hostname"`
	Init     []string `json:"init"` // argument vector; the first is the path
	// Program is executed with that argument vector, in place of its first element,
	// and inherits SocketFD, which it closes once it has arranged itself; empty for
	// that element.
	Program string   `json:"program,omitempty"`
	Env     []string `json:"env"`
	// Linux32 is the personality of a 32-bit machine.
	Linux32 bool `json:"linux32,omitempty"`
	// Files is the soft limit of open files; the hard one is inherited.
	Files uint64 `json:"files"`
	// Cgroups are mounted below /sys/fs/cgroup.
	Cgroups []Hierarchy `json:"cgroups"`
	// Sysctls are set last, see ValidateSysctls.
	Sysctls map[string]string `json:"sysctls,omitempty"`
	// Tasks is how many descriptors of v1 "tasks" files the stage has inherited,
	// from FirstTask on.
	Tasks int `json:"tasks"`
	// Filter is the filter of system calls, put on init and all that it starts.
	Filter seccomp.Program `json:"filter,omitempty"`
	// Nesting shows the instance a /proc and a /sys with nothing mounted over.
	Nesting bool `json:"nesting,omitempty"`
	// Disks are mounted last; a message with a mount comes for each.
	Disks []Disk `json:"disks,omitempty"`
}

// Descriptors that the stage inherits.
const (
	SocketFD  = 3
	FirstTask = 4
)

// Kind says what a message is.
type Kind string

// The messages, in the order of doc.go.
const (
	KindConfig  Kind = "config"
	KindDisk    Kind = "disk"
	KindRoot    Kind = "root"
	KindMoved   Kind = "moved"
	KindConsole Kind = "console"
	KindGo      Kind = "go"
	KindFailed  Kind = "failed"
)

// Message is one packet.
type Message struct {
	Kind   Kind    `json:"kind"`
	Config *Config `json:"config,omitempty"`
	// Error is what went wrong, of KindFailed.
	Error string `json:"error,omitempty"`
}

// maxMessage bounds a packet; the largest is Config with the environment.
const maxMessage = 1 << 20

// ErrClosed is returned by Receive when the other end has closed the socket.
var ErrClosed = errors.New("the other end has closed the socket")

// Send writes one message, with a descriptor when fd >= 0.
func Send(sock int, m Message, fd int) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(data) > maxMessage {
		return fmt.Errorf("message of %d bytes is too large: the environment is limited", len(data))
	}
	var oob []byte
	if fd >= 0 {
		oob = unix.UnixRights(fd)
	}
	for {
		err := unix.Sendmsg(sock, data, oob, nil, unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("sendmsg", err)
		}
	}
}

// Receive reads one message and the descriptor that came with it, -1 without.
func Receive(sock int) (Message, int, error) {
	buf := make([]byte, maxMessage)
	oob := make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(sock, buf, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECONNRESET), err == nil && n == 0:
			return Message{}, -1, ErrClosed
		case err != nil:
			return Message{}, -1, os.NewSyscallError("recvmsg", err)
		}
		fd, err := rights(oob[:oobn])
		if err != nil {
			return Message{}, -1, err
		}
		var m Message
		if err := json.Unmarshal(buf[:n], &m); err != nil {
			if fd >= 0 {
				_ = unix.Close(fd) // of no use to anybody
			}
			return Message{}, -1, fmt.Errorf("invalid message: %w", err)
		}
		return m, fd, nil
	}
}

// rights takes the descriptor out of a control message.
func rights(oob []byte) (int, error) {
	if len(oob) == 0 {
		return -1, nil
	}
	cmsgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1, os.NewSyscallError("parse control message", err)
	}
	for i := range cmsgs {
		fds, err := unix.ParseUnixRights(&cmsgs[i])
		if err == nil && len(fds) == 1 {
			return fds[0], nil
		}
	}
	return -1, errors.New("unexpected control message")
}
