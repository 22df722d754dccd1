package rootfs

import "context"

// openNone is the empty root: a place to put files into.
func openNone(context.Context) (*Template, error) {
	t := &Template{fill: func(*tree) error { return nil }}
	t.Metadata.Properties = map[string]string{"description": "Empty root filesystem", "name": "none"}
	return t, nil
}
