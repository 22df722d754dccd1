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
