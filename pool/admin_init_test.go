package pool

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// When the default profile cannot be written, neither the pool nor the network
// that were made for it stay.
func TestAdminInitUndone(t *testing.T) {
	for _, step := range []string{"pool", "network"} {
		t.Run(step, func(t *testing.T) {
			s := newSystem(t)
			ctx := t.Context()
			o := InitOptions{PoolName: "p", PoolSize: "256MiB"}
			if step == "network" {
				o = InitOptions{Network: fmt.Sprintf("pt%d", os.Getpid()), IPv4: "auto", IPv6: "none"}
			}
			profile := filepath.Join(s.dir.Root, "profiles", "default.json")
			if err := os.WriteFile(profile, []byte("no JSON"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := s.AdminInit(ctx, o)
			if rerr := os.Remove(profile); rerr != nil {
				t.Fatal(rerr)
			}
			if err == nil {
				t.Error("no error")
			}
			if _, lerr := s.dir.LoadPool("p"); lerr == nil {
				t.Errorf("the pool is left: %v", err)
			}
			if o.Network != "" {
				if _, lerr := s.dir.LoadNetwork(o.Network); lerr == nil {
					t.Errorf("the network is left: %v", err)
					_ = s.DeleteNetwork(ctx, o.Network)
				}
			}
		})
	}
}

// A device or a directory has no size of its own: the default one is for files.
func TestAdminInitOnDeviceAndDirectory(t *testing.T) {
	dev, _ := newDevice(t, 128<<20)
	owner := ownersFS(t)
	s := newSystem(t)
	for name, o := range map[string]InitOptions{
		"device":    {PoolName: "d1", PoolSource: dev, DefaultSize: "2GiB"},
		"directory": {PoolName: "d2", PoolSource: owner + "/pool", DefaultSize: "2GiB"},
		"file":      {PoolName: "d3", DefaultSize: "200MiB"},
	} {
		if err := s.AdminInit(t.Context(), o); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		info, err := s.PoolInfo(t.Context(), o.PoolName)
		if err != nil || info.Kind != name || (info.Pool.Config["size"] == "200MiB") != (name == "file") {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
	if err := s.AdminInit(t.Context(), InitOptions{PoolName: "d4", PoolSource: dev, PoolSize: "1GiB"}); err == nil {
		t.Error("a device with a size was taken")
	}
}
