package pool

import "poolctl/images"

// tellLeftOut says what of an image has not been unpacked.
func (s *System) tellLeftOut(res images.Result) {
	const where = "(docs/images.md, Device nodes)"
	if n := res.DevSkipped; n > 0 {
		s.noticef("%d device nodes and other files of /dev in the archive were left out of the image %s", n, where)
	}
	if n := res.DevicesLeftOut; n > 0 {
		s.noticef("%d device nodes that would reach the host were left out of the image %s", n, where)
	}
}
