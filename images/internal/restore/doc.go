// Package restore is what the unpackers of all formats share: writing below an open
// directory without ever leaving it, the metadata of files, holes, the policy for
// device nodes, and the limits on what an image may ask for.
package restore
