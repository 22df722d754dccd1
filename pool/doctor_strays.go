package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/remotes"
	"poolctl/runtime/network"
)

// strayDisks tells of files below disks/ that are no pool's.
func (d *doctor) strayDisks(pools []string) {
	entries, err := os.ReadDir(d.dir.Disks())
	if err != nil {
		d.failed("disks", err)
		return
	}
	for _, e := range entries {
		if path := filepath.Join(d.dir.Disks(), e.Name()); !d.isSource(path, pools) {
			d.add(d.strayDisk(path, pools))
		}
	}
}

// strayDisk says what a file that is no pool's holds.
func (d *doctor) strayDisk(path string, pools []string) Finding {
	f := Finding{Severity: SeverityNotice, Object: "file " + path, Problem: "it is no pool's, and holds none", Remedy: "remove it, if it is not needed"}
	super, err := btrfs.ReadSuper(path)
	if err != nil {
		return f
	}
	for _, name := range pools {
		rec, err := d.dir.LoadPool(name)
		if err != nil || rec.UUID != super.UUID {
			continue
		}
		if unix.Access(rec.Source, unix.F_OK) == nil {
			f.Problem = "it holds a copy of pool " + name
			return f
		}
		f.Problem, f.Remedy = fmt.Sprintf("it holds pool %s, or a copy of it", name), fmt.Sprintf("poolctl pool attach %s --source %s", name, path)
		return f
	}
	f.Severity, f.Problem = SeverityWarning, fmt.Sprintf("it holds a btrfs file system named %q, and is no pool of this state directory", super.Label)
	f.Remedy = "poolctl pool adopt " + path
	return f
}

// isSource says whether the file is the source of one of the pools. One whose
// record cannot be read may have it.
func (d *doctor) isSource(path string, pools []string) bool {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return true // gone meanwhile
	}
	for _, name := range pools {
		rec, err := d.dir.LoadPool(name)
		if err != nil {
			if d.dir.DiskFile(name) == path {
				return true
			}
			continue
		}
		var own unix.Stat_t
		if unix.Stat(rec.Source, &own) == nil && own.Dev == st.Dev && own.Ino == st.Ino {
			return true
		}
		if strayed, err := d.findStrayed(rec); err == nil && strayed != nil && isFile(path, strayed.loop) {
			return true
		}
	}
	return false
}

// keptDownloads tells of pulls that were cut or interrupted.
func (d *doctor) keptDownloads() {
	all, err := remotes.KeptDownloads(d.dir.Downloads())
	if err != nil {
		d.failed("downloads", err)
		return
	}
	for _, k := range all {
		d.add(Finding{
			Severity: SeverityNotice, Object: "download " + k.SHA256[:12],
			Problem: fmt.Sprintf("%s of it are kept since %s; the next pull of that image goes on with it, and after a week it is removed",
				FormatSize(k.Size), k.Last.Format("2006-01-02 15:04")),
			Remedy: "poolctl doctor --fix removes it", does: "it was removed",
			fix: func(context.Context) error { return remotes.RemoveKept(d.dir.Downloads(), k.SHA256) },
		})
	}
}

// strayMountPoints tells of directories below storage-pools/ that are no pool's.
func (d *doctor) strayMountPoints(pools []string) {
	base := filepath.Dir(d.dir.MountPoint("any"))
	entries, err := os.ReadDir(base)
	if err != nil {
		d.failed("mount points", err)
		return
	}
	for _, e := range entries {
		path := filepath.Join(base, e.Name())
		if slices.Contains(pools, e.Name()) {
			continue
		}
		mounted, err := isMountPoint(path)
		if err != nil {
			d.failed("directory "+path, err)
			continue
		}
		f := Finding{Severity: SeverityWarning, Object: "directory " + path, Problem: "it is the mount point of no pool"}
		content, err := os.ReadDir(path)
		switch {
		case mounted:
			f.Problem, f.Remedy = "something is mounted at it, and it is no pool's mount point", "umount "+path
		case err == nil && len(content) == 0:
			f.Remedy, f.does = "rmdir "+path, "it was removed"
			f.fix = func(context.Context) error { return d.removeMountPoint(path) }
		default:
			f.Severity, f.Remedy = SeverityNotice, "move away what is in it"
		}
		d.add(f)
	}
}

// removeMountPoint removes the empty mount point of no pool, under the lock of
// its name: somebody may be making that pool just now.
func (d *doctor) removeMountPoint(path string) error {
	name := filepath.Base(path)
	unlock, err := d.dir.LockPool(context.Background(), name, false)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := d.dir.LoadPool(name); err == nil {
		return nil // made meanwhile
	}
	return ignoreNotExist(os.Remove(path))
}

// network checks the live side of a network.
func (d *doctor) network(name string) {
	object := "network " + name
	rec, err := d.dir.LoadNetwork(name)
	if err != nil {
		d.failed(object, err)
		return
	}
	bridge, err := d.bridge(rec)
	if err != nil {
		d.failed(object, err)
		return
	}
	live, err := bridge.State()
	if err != nil {
		d.failed(object, err)
		return
	}
	f := Finding{Severity: SeverityNotice, Object: object, does: "it was brought up", fix: bridge.Up}
	if len(d.running) > 0 {
		f.Severity = SeverityWarning
	}
	switch {
	case !live.Up:
		f.Problem, f.Remedy = "it is not up", "the start of an instance that uses it brings it up, and so does poolctl doctor --fix"
		d.add(f)
	case live.DnsmasqPID == 0:
		f.Problem, f.Remedy = "its dnsmasq does not run: there are no leases and names", "poolctl doctor --fix"
		d.add(f)
	default:
		d.networkRules(object, bridge, f)
	}
	d.lostPorts(object, name)
	d.strayPorts(object, live.Ports)
}

// lostPorts tells of running instances whose interfaces are not on the bridge.
func (d *doctor) lostPorts(object, name string) {
	for _, in := range d.running {
		for _, n := range d.networksOf(in) {
			if n.bridge.Name != name {
				continue
			}
			for _, p := range n.missing() {
				d.add(Finding{
					Severity: SeverityWarning, Object: object, Problem: fmt.Sprintf("%s of instance %s is not on it", p, in),
					Remedy: "poolctl doctor --fix joins it", does: "it was joined", fix: n.mend,
				})
			}
		}
	}
}

// strayPorts tells of the host ends of veth pairs on a network that no running
// instance has. While an instance starts or ends, nothing is known.
func (d *doctor) strayPorts(object string, ports []string) {
	entries, err := os.ReadDir(d.instancesRunDir())
	if ignoreNotExist(err) != nil || len(entries) != len(d.running) {
		return
	}
	used := map[string]bool{}
	for _, name := range d.running {
		in, err := d.runningInstance(name)
		if err != nil {
			return // it has just ended
		}
		interfaces, err := in.Interfaces()
		if err = errors.Join(err, in.Close()); err != nil {
			d.failed("instance "+name, err)
			return
		}
		for _, i := range interfaces {
			used[i.HostName] = true
		}
	}
	for _, p := range ports {
		if used[p] || !network.IsHostName(p) {
			continue
		}
		d.add(Finding{
			Severity: SeverityWarning, Object: object, Problem: p + " is on it, and no running instance's", Remedy: "ip link delete " + p,
			does: "it was removed", fix: func(context.Context) error {
				return network.Detach(network.NIC{Kind: network.Bridged, HostName: p}, nil)
			},
		})
	}
}

// strayNetworks tells of bridges and directories of networks that have no record.
func (d *doctor) strayNetworks(networks []string) {
	links, err := network.HostLinks()
	if err != nil {
		d.failed("networks", err)
		return
	}
	names := map[string]string{} // to what is left of it
	for _, l := range links {
		b := d.bareBridge(l.Name)
		if state, err := b.State(); l.Type == "bridge" && err == nil && state.HWAddr != "" {
			names[l.Name] = "its bridge is there"
		}
	}
	for _, dir := range []string{d.dir.Networks(), filepath.Join(d.dir.Run(), "networks")} {
		entries, err := os.ReadDir(dir)
		if ignoreNotExist(err) != nil {
			d.failed("networks", err)
		}
		for _, e := range entries {
			if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && names[e.Name()] == "" {
				names[e.Name()] = filepath.Join(dir, e.Name()) + " is there"
			}
		}
	}
	for _, name := range sortedKeys(names) {
		if slices.Contains(networks, name) {
			continue
		}
		d.add(Finding{
			Severity: SeverityWarning, Object: "network " + name, Problem: names[name] + ", and there is no network of that name",
			Remedy: "poolctl doctor --fix takes it away", does: "it was taken away",
			fix: func(ctx context.Context) error { return d.dropStray(ctx, name) },
		})
	}
}

// dropStray takes down what is left of a network without a record.
func (d *doctor) dropStray(ctx context.Context, name string) error {
	unlock, err := d.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := d.dir.LoadNetwork(name); err == nil {
		return nil // made meanwhile
	}
	b := d.bareBridge(name)
	if network.ValidateName(name) == nil {
		if err := b.Down(ctx); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(b.RunDir), os.RemoveAll(b.Dir))
}
