package pool

import (
	"time"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/tree"
	"poolctl/runtime"
	"poolctl/runtime/network"
)

// Pool is a storage pool as `pool show` prints it: LXD's and Incus's fields in
// their order.
type Pool struct {
	Config      map[string]string `json:"config" yaml:"config"`
	Description string            `json:"description" yaml:"description"`
	Name        string            `json:"name" yaml:"name"`
	Driver      string            `json:"driver" yaml:"driver"`
	UsedBy      []string          `json:"used_by" yaml:"used_by"`
	Status      string            `json:"status" yaml:"status"`
	Locations   []string          `json:"locations" yaml:"locations"`
}

// PoolInfo is what `pool info` prints: the pool, its file, its loop device and
// its space, as the kernel reports them now.
type PoolInfo struct {
	Pool Pool `json:"pool" yaml:"pool"`
	// UUID is the btrfs file system's.
	UUID string `json:"uuid" yaml:"uuid"`
	// Kind is what the pool lies on: "file", "device" or "directory". The one of
	// the next three that tells of it is there.
	Kind string `json:"kind" yaml:"kind"`
	// File is the image file: apparent size and the bytes the host really gave it.
	File      *FileInfo      `json:"file,omitempty" yaml:"file,omitempty"`
	Device    *DeviceInfo    `json:"device,omitempty" yaml:"device,omitempty"`
	Directory *DirectoryInfo `json:"directory,omitempty" yaml:"directory,omitempty"`
	// Attached says whether the pool is mounted.
	Attached   bool   `json:"attached" yaml:"attached"`
	MountPoint string `json:"mount_point,omitempty" yaml:"mount_point,omitempty"`
	// Loop are the loop devices on the file: one when attached; more than one is a danger.
	Loop []loopdev.Info `json:"loop_devices" yaml:"loop_devices"`
	// Strangers are those of Loop that are not the pool's own.
	Strangers []Stranger `json:"strangers" yaml:"strangers"`
	// Quotas is how the pool counts what its volumes take; nil while it is detached.
	Quotas *PoolQuotas `json:"quotas,omitempty" yaml:"quotas,omitempty"`
	// Usage and Health are nil while the pool is detached.
	Usage     *btrfs.Usage `json:"usage,omitempty" yaml:"usage,omitempty"`
	Health    *PoolHealth  `json:"health,omitempty" yaml:"health,omitempty"`
	Images    int          `json:"images" yaml:"images"`
	Instances int          `json:"instances" yaml:"instances"`
}

// PoolQuotas is the state of a pool's quotas.
type PoolQuotas struct {
	Mode string `json:"mode" yaml:"mode"` // simple, qgroups or none
	// Inconsistent says that nothing is counted, and no size held, until it is
	// counted anew, which the next command that sets a size does.
	Inconsistent bool `json:"inconsistent" yaml:"inconsistent"`
}

// FileInfo is an image file's path and sizes in bytes.
type FileInfo struct {
	Path      string `json:"path" yaml:"path"`
	Size      int64  `json:"size" yaml:"size"`
	Allocated int64  `json:"allocated" yaml:"allocated"`
	// Problem says what has become of the file of an attached pool: it was moved,
	// removed, replaced or truncated meanwhile. Remedy is what can be done about it.
	Problem string `json:"problem,omitempty" yaml:"problem,omitempty"`
	Remedy  string `json:"remedy,omitempty" yaml:"remedy,omitempty"`
}

// DeviceInfo is a pool's block device: its path now, and its size in bytes; 0
// when it is gone.
type DeviceInfo struct {
	Path string `json:"path" yaml:"path"`
	Size int64  `json:"size" yaml:"size"`
}

// DirectoryInfo is a pool's subvolume in a file system of somebody else's.
type DirectoryInfo struct {
	Path          string `json:"path" yaml:"path"`
	SubvolumeID   uint64 `json:"subvolume_id" yaml:"subvolume_id"`
	SubvolumeUUID string `json:"subvolume_uuid" yaml:"subvolume_uuid"`
}

// CreatePoolOptions are the arguments of CreatePool.
type CreatePoolOptions struct {
	Name        string
	Driver      string            // "" or "btrfs"
	Config      map[string]string // "size" ("2GiB"), "source" (a path), ...: see the registry of keys
	Description string
}

// Image is an image in a pool.
type Image struct {
	Fingerprint     string       `json:"fingerprint" yaml:"fingerprint"`
	AltFingerprints []string     `json:"alt_fingerprints,omitempty" yaml:"alt_fingerprints,omitempty"`
	Aliases         []ImageAlias `json:"aliases" yaml:"aliases"`
	Architecture    string       `json:"architecture" yaml:"architecture"`
	AutoUpdate      bool         `json:"auto_update" yaml:"auto_update"`
	Cached          bool         `json:"cached" yaml:"cached"`
	Public          bool         `json:"public" yaml:"public"`
	Type            string       `json:"type" yaml:"type"`
	Size            int64        `json:"size" yaml:"size"`
	// VirtualSize is the size in bytes of a virtual machine's disk.
	VirtualSize  int64             `json:"virtual_size,omitempty" yaml:"virtual_size,omitempty"`
	Properties   map[string]string `json:"properties" yaml:"properties"`
	CreatedAt    time.Time         `json:"created_at" yaml:"created_at"`
	ExpiresAt    time.Time         `json:"expires_at" yaml:"expires_at"`
	LastUsedAt   time.Time         `json:"last_used_at" yaml:"last_used_at"`
	UploadedAt   time.Time         `json:"uploaded_at" yaml:"uploaded_at"`
	UpdateSource *ImageSource      `json:"update_source,omitempty" yaml:"update_source,omitempty"`
	Profiles     []string          `json:"profiles" yaml:"profiles"` // of new instances that name none
	Pool         string            `json:"pool" yaml:"pool"`

	derived bool // tree.ImageRecord.Derived
}

// ImagePut is what users can change of an image, in incus's fields and order.
type ImagePut struct {
	AutoUpdate bool              `json:"auto_update" yaml:"auto_update"`
	Properties map[string]string `json:"properties" yaml:"properties"`
	Public     bool              `json:"public" yaml:"public"`
	ExpiresAt  time.Time         `json:"expires_at" yaml:"expires_at"`
	Profiles   []string          `json:"profiles" yaml:"profiles"`
}

// Put is what can be changed of the image, as it is now.
func (im Image) Put() ImagePut {
	return ImagePut{im.AutoUpdate, im.Properties, im.Public, im.ExpiresAt, im.Profiles}
}

// ImageAliasEntry is an alias with the image that it stands for, in incus's
// fields and order.
type ImageAliasEntry struct {
	Description string `json:"description" yaml:"description"`
	Target      string `json:"target" yaml:"target"` // fingerprint
	Name        string `json:"name" yaml:"name"`
	Type        string `json:"type" yaml:"type"` // of the image
}

// ImageAlias is a local name of an image.
type ImageAlias struct {
	Name        string `json:"name" yaml:"name"`
	Description string `json:"description" yaml:"description"`
}

// ImageSource says where an image was pulled from.
type ImageSource struct {
	Remote   string `json:"remote" yaml:"remote"`
	Server   string `json:"server" yaml:"server"`
	Alias    string `json:"alias" yaml:"alias"`
	Protocol string `json:"protocol" yaml:"protocol"`
	// SignedBy are the fingerprints of the OpenPGP keys of which one had to sign the server's catalogue.
	SignedBy []string `json:"signed_by,omitempty" yaml:"signed_by,omitempty"`
}

// PullOptions are the arguments of PullImage.
type PullOptions struct {
	Pool    string   // target pool; "" = the default one
	Aliases []string // local aliases to give it
	Arch    string   // "" = the host's
	Type    string   // container, virtual-machine; "" = a container, or else a virtual machine
	// CopyAliases gives it the remote's aliases as well.
	CopyAliases bool
	AutoUpdate  bool     // RefreshImages with --auto keeps it up to date
	Public      bool     // others may have it
	Profiles    []string // of new instances that name none
	Progress    func(Progress)

	size        int64             // of the instance that it is for; 0 for none
	successorOf *tree.ImageRecord // the image whose place the new one takes
}

// Progress is one step of a long operation.
type Progress struct {
	Name  string // what is worked on: "rootfs", "metadata", "unpack"
	Done  int64  // bytes
	Total int64  // bytes; 0 = unknown
	Kept  int64  // of Done, those that an earlier command left; in the first report
}

// CreateOptions are the arguments of Create.
type CreateOptions struct {
	Name  string // "" = a random name
	Image string // [REMOTE:]IMAGE
	// Template is what the root filesystem is made by in the place of an image, one
	// of Templates; "" = of the image.
	Template string
	Pool     string // "" = the default one
	Config   map[string]string
	Devices  map[string]map[string]string
	// DeviceOverrides lays keys over devices that it has anyway, also from its profiles.
	DeviceOverrides map[string]map[string]string
	Profiles        []string // nil = default
	Network         string   // bridge for eth0 instead of the profile's
	Description     string
	Ephemeral       bool
	Progress        func(Progress)
}

// CopyOptions are the arguments of Copy.
type CopyOptions struct {
	Source       string            // the instance
	Snapshot     string            // the one of its snapshots to copy; "" = the instance as it is now
	Name         string            // "" = a random name
	Pool         string            // the pool that it is made in; "" = the source's
	InstanceOnly bool              // leave the snapshots out; a snapshot has none
	Config       map[string]string // laid over the source's
	// DeviceOverrides lays keys over the devices of the source.
	DeviceOverrides map[string]map[string]string
	Profiles        []string // instead of the source's; nil = those
	Ephemeral       bool
	// Refresh brings an instance of that name that is there up to date; of what is
	// above, only Source, Snapshot, Pool and InstanceOnly count then.
	Refresh bool
	// RefreshExcludeOlder leaves out snapshots that the copy does not have and that are
	// older than its newest one.
	RefreshExcludeOlder bool
	Progress            func(Progress)
}

// Instance is an instance with its live state: incus's fields.
type Instance struct {
	Name            string                       `json:"name" yaml:"name"`
	Description     string                       `json:"description" yaml:"description"`
	Status          string                       `json:"status" yaml:"status"` // Running, Frozen, Starting (again, after a reboot or by boot.autorestart), Stopped, Broken
	Type            string                       `json:"type" yaml:"type"`     // container
	Architecture    string                       `json:"architecture" yaml:"architecture"`
	CreatedAt       time.Time                    `json:"created_at" yaml:"created_at"`
	LastUsedAt      time.Time                    `json:"last_used_at" yaml:"last_used_at"`
	Ephemeral       bool                         `json:"ephemeral" yaml:"ephemeral"`
	Profiles        []string                     `json:"profiles" yaml:"profiles"`
	Config          map[string]string            `json:"config" yaml:"config"`
	Devices         map[string]map[string]string `json:"devices" yaml:"devices"`
	ExpandedConfig  map[string]string            `json:"expanded_config" yaml:"expanded_config"`
	ExpandedDevices map[string]map[string]string `json:"expanded_devices" yaml:"expanded_devices"`
	Pool            string                       `json:"pool" yaml:"pool"`
	Problem         string                       `json:"problem,omitempty" yaml:"problem,omitempty"` // why it is Broken
	Snapshots       []Snapshot                   `json:"snapshots" yaml:"snapshots"`
	State           *InstanceState               `json:"state,omitempty" yaml:"state,omitempty"` // nil unless running
	// Disks are what its disk devices take, by device: see AddDiskUsage.
	Disks map[string]DiskUsage `json:"disks,omitempty" yaml:"disks,omitempty"`
	// LastExit is how a stopped one's last run has ended; nil when that is not known,
	// and in lists.
	LastExit *runtime.Exit `json:"last_exit,omitempty" yaml:"last_exit,omitempty"`
}

// InstanceState is what the kernel says of a running instance.
type InstanceState struct {
	PID        int           `json:"pid" yaml:"pid"`
	StartedAt  time.Time     `json:"started_at" yaml:"started_at"`
	Processes  int64         `json:"processes" yaml:"processes"`
	CPU        time.Duration `json:"cpu_ns" yaml:"cpu_ns"`
	Memory     int64         `json:"memory" yaml:"memory"`           // bytes
	MemoryPeak int64         `json:"memory_peak" yaml:"memory_peak"` // bytes; 0 = unknown
	// MemoryLimit, Swap and SwapPeak are bytes; 0 = none, or unknown.
	MemoryLimit int64 `json:"memory_limit" yaml:"memory_limit"`
	Swap        int64 `json:"swap" yaml:"swap"`
	SwapPeak    int64 `json:"swap_peak" yaml:"swap_peak"`
	// OOMKills is how many processes were killed for want of memory, and
	// CPUAllowed the processor time that it may have in each second; of
	// InstanceInfo only.
	OOMKills   int64               `json:"oom_kills" yaml:"oom_kills"`
	CPUAllowed time.Duration       `json:"cpu_allowed_ns" yaml:"cpu_allowed_ns"`
	Network    []network.Interface `json:"network" yaml:"network"`
}

// DiskUsage is what a disk device of an instance takes.
type DiskUsage struct {
	Usage int64 `json:"usage" yaml:"usage"` // bytes
	Total int64 `json:"total" yaml:"total"` // its size in bytes; 0 = no limit
}

// Snapshot is a snapshot of an instance.
type Snapshot struct {
	Name      string    `json:"name" yaml:"name"`
	CreatedAt time.Time `json:"created_at" yaml:"created_at"`
	ExpiresAt time.Time `json:"expires_at" yaml:"expires_at"`
	Stateful  bool      `json:"stateful" yaml:"stateful"`
}

// StopOptions are the arguments of Stop and Restart.
type StopOptions struct {
	Force   bool
	Timeout time.Duration // how long a clean stop may take; 0 = 30 s

	atShutdown bool // because the machine stops: it is to run again
}

// Network is a network as `network show` prints it.
type Network struct {
	Config      map[string]string `json:"config" yaml:"config"`
	Description string            `json:"description" yaml:"description"`
	Name        string            `json:"name" yaml:"name"`
	Type        string            `json:"type" yaml:"type"` // "bridge"; of host interfaces that are not managed also "physical", "loopback", ...
	UsedBy      []string          `json:"used_by" yaml:"used_by"`
	Managed     bool              `json:"managed" yaml:"managed"`
	Status      string            `json:"status" yaml:"status"` // Created, ...
	Locations   []string          `json:"locations" yaml:"locations"`
}

// InitOptions are the arguments of AdminInit: what `admin init` asks.
type InitOptions struct {
	PoolName   string // "" = no pool
	PoolSize   string // "2GiB"; "" = DefaultSize for a file, and nothing for a device or directory
	PoolSource string // path of a file, device or directory; "" = a file below the state directory
	// DefaultSize is the size of a file when PoolSize is ""; "" = that of CreatePool.
	DefaultSize string
	Network     string // bridge name; "" = none
	IPv4        string // "auto", "none" or "10.1.2.1/24"
	IPv6        string // "auto", "none" or "fd42:...::1/64"
	// Silent says nothing of a pool and a network that are there already: they were made a moment ago.
	Silent bool
}

// SnapshotConfig is a snapshot of an instance as `config show` prints it: incus's
// fields in their order.
type SnapshotConfig struct {
	Architecture    string                       `json:"architecture" yaml:"architecture"`
	Config          map[string]string            `json:"config" yaml:"config"`
	CreatedAt       time.Time                    `json:"created_at" yaml:"created_at"`
	Devices         map[string]map[string]string `json:"devices" yaml:"devices"`
	Ephemeral       bool                         `json:"ephemeral" yaml:"ephemeral"`
	ExpandedConfig  map[string]string            `json:"expanded_config" yaml:"expanded_config"`
	ExpandedDevices map[string]map[string]string `json:"expanded_devices" yaml:"expanded_devices"`
	ExpiresAt       time.Time                    `json:"expires_at" yaml:"expires_at"`
	LastUsedAt      time.Time                    `json:"last_used_at" yaml:"last_used_at"`
	Name            string                       `json:"name" yaml:"name"`
	Profiles        []string                     `json:"profiles" yaml:"profiles"`
	Stateful        bool                         `json:"stateful" yaml:"stateful"`
	Size            int64                        `json:"size" yaml:"size"` // bytes; -1 = unknown
}
