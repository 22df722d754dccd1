package rootfs

import "io/fs"

type file struct {
	name    string
	mode    fs.FileMode
	content string
}

// hostnameTemplate makes /etc/hostname.
const hostnameTemplate = "{{ container.name }}\n"

// busyboxFiles are the files of the busybox system but for its one program.
func busyboxFiles() []file {
	return []file{
		{"etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"},
		{"etc/group", 0o644, "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"},
		// No password: the console belongs to whoever is root on the host.
		{"etc/shadow", 0o600, "root::19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n"},
		{"etc/securetty", 0o644, "console\ntty1\npts/0\npts/1\npts/2\npts/3\n"},
		{"etc/shells", 0o644, "/bin/sh\n/bin/ash\n"},
		{"etc/profile", 0o644, "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PS1='\\u@\\h:\\w\\$ '\n"},
		{"etc/issue", 0o644, "BusyBox \\n\n\n"},
		{"etc/hosts", 0o644, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n"},
		{"etc/fstab", 0o644, "# Nothing: what a system container needs is mounted before its init runs.\n"},
		{"etc/inittab", 0o644, inittab},
		{"etc/init.d/rcS", 0o755, rcS},
		{"usr/share/udhcpc/default.script", 0o755, udhcpcScript},
	}
}

// inittab is in the format of busybox's examples/inittab.
const inittab = `::sysinit:/etc/init.d/rcS
::respawn:/sbin/getty -L 0 console linux
::respawn:/sbin/syslogd -n
::ctrlaltdel:/sbin/reboot
`

// rcS ends at once: what takes time runs on in the background.
const rcS = `#!/bin/sh
# What is done once, before the rest of /etc/inittab.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs /run 2>/dev/null
[ -s /etc/hostname ] && hostname -F /etc/hostname
ip link set lo up
for dev in /sys/class/net/*; do
	dev=${dev##*/}
	[ "$dev" = lo ] && continue
	ip link set "$dev" up
	udhcpc -b -S -i "$dev" -x "hostname:$(hostname)" -p "/run/udhcpc.$dev.pid" </dev/null >/dev/null 2>&1 &
done
exit 0
`

// udhcpcScript leaves an address alone that was set from outside until there is
// a lease for another one.
const udhcpcScript = `#!/bin/sh
# What udhcpc runs at each event, see udhcpc --help.
case "$1" in
deconfig)
	ip link set "$interface" up
	;;
bound | renew)
	for old in $(ip -4 -o addr show dev "$interface" scope global | sed -n 's/.* inet \([0-9./]*\).*/\1/p'); do
		[ "$old" = "$ip/${mask:-24}" ] || ip addr del "$old" dev "$interface"
	done
	ip addr replace "$ip/${mask:-24}" ${broadcast:+broadcast "$broadcast"} dev "$interface"
	for r in $router; do
		ip route replace default via "$r" dev "$interface"
		break
	done
	if [ -n "$dns" ]; then
		{
			[ -n "$domain" ] && echo "search $domain"
			for s in $dns; do echo "nameserver $s"; done
		} >/etc/resolv.conf.new && mv /etc/resolv.conf.new /etc/resolv.conf
	fi
	;;
esac
exit 0
`
