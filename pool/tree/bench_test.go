package tree

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// benchPool makes a pool with an image and the instances c0, c1, ... of it.
func benchPool(b *testing.B, instances int) *Tree {
	b.Helper()
	p := newPool(b)
	if err := importImage(p.Tree, fingerprint); err != nil {
		b.Fatal(err)
	}
	for i := range instances {
		in := benchInstance(fmt.Sprintf("c%d", i))
		if err := p.CreateInstance(context.Background(), in, fingerprint); err != nil {
			b.Fatal(err)
		}
	}
	return p.Tree
}

// benchInstance is an instance with as much configuration as LXD gives one.
func benchInstance(name string) Instance {
	in := newInstance(name)
	for i := range 16 {
		in.Config[fmt.Sprintf("volatile.some.key.%d", i)] = "a value of some length, as volatile keys have"
	}
	in.ExpandedConfig, in.ExpandedDevices = in.Config, in.Devices
	in.ProfileInfo = []ProfileInfo{{Name: "default", Devices: in.Devices}}
	return in
}

func BenchmarkInstances1000(b *testing.B) {
	p := benchPool(b, 1000)
	for b.Loop() {
		all, err := p.Instances(context.Background())
		if err != nil || len(all) != 1000 {
			b.Fatal(len(all), err)
		}
	}
}

func BenchmarkInstances1000WithSnapshots(b *testing.B) {
	p := benchPool(b, 1000)
	for i := range 1000 {
		if err := p.CreateSnapshot(context.Background(), fmt.Sprintf("c%d", i), "snap0", SnapshotOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		all, err := p.Instances(context.Background())
		if err != nil || len(all) != 1000 || len(all[7].Snapshots) != 1 {
			b.Fatal(len(all), err)
		}
	}
}

// BenchmarkOperations times each operation on one instance: the figures are reported as ns of each.
func BenchmarkOperations(b *testing.B) {
	ctx := context.Background()
	ops := []struct {
		name string
		prep func(*Tree, string) error
		run  func(*Tree, string) error
	}{
		{"create", nil, func(p *Tree, n string) error { return p.CreateInstance(ctx, benchInstance(n), fingerprint) }},
		{"update", createBench, func(p *Tree, n string) error {
			_, err := p.UpdateInstance(n, func(in *Instance) error { in.Config["user.v"] = "2"; return nil })
			return err
		}},
		{"snapshot", createBench, func(p *Tree, n string) error { return p.CreateSnapshot(ctx, n, "s", SnapshotOptions{}) }},
		{"restore", snapshotBench, func(p *Tree, n string) error { return p.RestoreSnapshot(ctx, n, "s", RestoreOptions{}) }},
		{"delete-snapshot", snapshotBench, func(p *Tree, n string) error { return p.DeleteSnapshot(ctx, n, "s") }},
		{"delete", createBench, func(p *Tree, n string) error { return p.DeleteInstance(ctx, n) }},
		{"delete-with-snapshot", snapshotBench, func(p *Tree, n string) error { return p.DeleteInstance(ctx, n) }},
		{"recover-nothing", nil, func(p *Tree, _ string) error { return p.Recover(ctx) }},
	}
	for _, op := range ops {
		b.Run(op.name, func(b *testing.B) {
			p := benchPool(b, 0)
			i := 0
			b.ResetTimer()
			for range b.N {
				b.StopTimer()
				name := fmt.Sprintf("c%d", i)
				i++
				if op.prep != nil {
					if err := op.prep(p, name); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				if err := op.run(p, name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func createBench(p *Tree, name string) error {
	return p.CreateInstance(context.Background(), benchInstance(name), fingerprint)
}

func snapshotBench(p *Tree, name string) error {
	return errors.Join(createBench(p, name), p.CreateSnapshot(context.Background(), name, "s", SnapshotOptions{}))
}
