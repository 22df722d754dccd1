// Package tarball writes the entries of a tar archive below an open directory,
// faithfully and without ever leaving it.
//
// Every name is resolved component by component from the directory's descriptor
// and no component may be a symbolic link; names that are absolute or contain
// ".." are refused. Owners (numeric), modes with set-id and sticky bits,
// nanosecond times, extended attributes (file capabilities and POSIX ACLs among
// them), hard links, symbolic links, fifos and holes are kept. Directories get
// their owner, mode, attributes and time last, so that neither a time is changed
// by what is written later nor a default ACL leaks onto it.
//
// Device nodes: only those that give no access to hardware or to the host are
// made (see restore.SafeDevice); others are left out and counted.
//
// It does not know what an image is: package images says which entry goes where.
package tarball
