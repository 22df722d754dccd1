// Package template renders the pongo2 templates that come inside images.
//
// It owns the language's setting: which tags are banned, what the context holds,
// and the limits on source, output, time and memory. Templates are untrusted:
// pongo2 itself bounds neither loops nor macros nor string filters, so every
// template that uses more than plain values and conditions is rendered in a child
// process of this same program with resource limits. It does not know where
// templates come from or where the result goes.
package template
