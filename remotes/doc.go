// Package remotes reads image servers that speak simplestreams: it validates
// the remotes a user names, fetches and caches their catalogues, works out the
// images and aliases in them, and streams an image's files, verified.
//
// It owns the wire format (streams/v1/index.json, the products files, ranges
// and redirects over HTTPS) and the cache directory of each remote. It knows
// nothing of pools, of what an image holds, or of where remotes are saved.
//
// A glossary of the format, which LXD and Incus share with Ubuntu's cloud
// images: an index names products files; a products file holds products (an OS
// release for one architecture); a product has versions, named by their serial;
// a version has items, which are files. A metadata item and a root item of one
// version together are one image; so is a unified item alone.
//
// Nothing a server says is trusted: paths stay below the remote's URL, sizes
// and hashes are enforced while bytes stream, documents and redirects are
// bounded, and names are cleaned of control characters.
package remotes
