package pool

import "testing"

// TestDoctorMountedImage: an image that is mounted is one, by its alias.
func TestDoctorMountedImage(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	f := newImageFiles(t)
	if _, err := s.ImportImage(t.Context(), ImportImageOptions{Files: []string{f.meta, f.tar}, NewImageOptions: NewImageOptions{Aliases: []string{"web/1"}}}); err != nil {
		t.Fatal(err)
	}
	dir, err := s.Mount(t.Context(), "local:web/1", "", MountOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found, err := s.Doctor(t.Context(), DoctorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	there := false
	for _, one := range found {
		there = there || one.Object == "image web/1" && one.Problem == "it is mounted at "+dir
	}
	if !there {
		t.Errorf("%+v", found)
	}
	if err := s.Unmount(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
}
