package tree

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

// lxdRecord is a backup.yaml as LXD 5.0.2 wrote it, shortened.
func lxdRecord(t testing.TB) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/lxd-5.0.2-backup.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestDecodeLXD(t *testing.T) {
	rec, err := decodeRecord(lxdRecord(t), whole)
	if err != nil {
		t.Fatal(err)
	}
	in := rec.Container
	if in.Architecture != "x86_64" || in.Config["image.release"] != "3.8" || in.Config["volatile.idmap.base"] != "0" ||
		in.ExpandedDevices["root"]["pool"] != "default" || in.Profiles[0] != "default" || in.Project != "default" ||
		in.CreatedAt.Format(time.RFC3339Nano) != "2026-11-23T23:49:25.89011871Z" || in.Pool.Name != "default" {
		t.Errorf("%+v", in)
	}
	if len(rec.entries) != 1 || rec.entries[0].Name != "s1" || !rec.entries[0].ExpiresAt.IsZero() || rec.entries[0].Size != -1 {
		t.Errorf("%+v", rec.entries)
	}
	light, err := decodeRecord(lxdRecord(t), listed)
	if err != nil || light.entries[0].Name != "s1" || light.Container.Config["image.release"] != "3.8" {
		t.Errorf("%+v, %v", light, err)
	}
}

// TestRewriteKeepsLXDsFields checks that only what changed changes, whatever the syntax was.
func TestRewriteKeepsLXDsFields(t *testing.T) {
	old := lxdRecord(t)
	rec, err := decodeRecord(old, whole)
	if err != nil {
		t.Fatal(err)
	}
	rec.Container.Name = "r1"
	raw, err := encoded(rec.doc, rec.Container, rec.entries)
	if err != nil {
		t.Fatal(err)
	}
	var before, after map[string]any
	if err := yaml.Unmarshal(old, &before); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, &after); err != nil {
		t.Fatalf("the record is no YAML: %v", err)
	}
	container, ok := before["container"].(map[string]any)
	if !ok {
		t.Fatal("no container")
	}
	container["status"], container["status_code"] = "Stopped", statusStopped
	if diff := cmp.Diff(normalYAML(t, before), normalYAML(t, after)); diff != "" {
		t.Error(diff)
	}
}

// normalYAML turns the times that YAML knows and JSON does not into strings.
func normalYAML(t *testing.T, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestProjectName: the record of an instance of another project of LXD's keeps the name without the project.
func TestProjectName(t *testing.T) {
	in := Instance{Name: "web_c1", Project: "web"}
	raw, err := encoded(document{}, &in, nil)
	if err != nil || !strings.Contains(string(raw), `"name":"c1"`) {
		t.Errorf("%s, %v", raw, err)
	}
}

// TestRoundTrip writes records of all kinds and reads them back, as JSON and as YAML.
func TestRoundTrip(t *testing.T) {
	text := rapid.String()
	config := rapid.MapOfN(text, text, 0, 5)
	rapid.Check(t, func(t *rapid.T) {
		in := Instance{
			Name: "c1", Description: text.Draw(t, "description"), Config: config.Draw(t, "config"),
			ExpandedConfig: config.Draw(t, "expanded"), Ephemeral: rapid.Bool().Draw(t, "ephemeral"),
			Devices:   rapid.MapOfN(text, config, 0, 3).Draw(t, "devices"),
			Profiles:  rapid.SliceOfN(text, 0, 3).Draw(t, "profiles"),
			CreatedAt: time.Unix(rapid.Int64Range(0, 1<<35).Draw(t, "created"), 5).UTC(),
		}
		in.normalise()
		snaps := []Snapshot{in.snapshotOf("s", in.CreatedAt), in.snapshotOf("t\"\\", in.CreatedAt)}
		raw, err := encoded(document{}, &in, []entry{{Snapshot: snaps[0]}, {Snapshot: snaps[1]}})
		if err != nil {
			t.Fatal(err)
		}
		checkYAML(t, raw)
		light, err := decodeRecord(raw, brief)
		if err != nil || !light.doc.lines || !light.entries[0].brief || light.entries[1].Name != snaps[1].Name {
			t.Fatalf("%+v, %v", light, err)
		}
		again, err := encoded(light.doc, &in, light.entries)
		if err != nil {
			t.Fatal(err)
		}
		var one, two any
		if err := errors.Join(json.Unmarshal(raw, &one), json.Unmarshal(again, &two)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(one, two); diff != "" {
			t.Fatalf("written twice: %s", diff)
		}
		rec, err := decodeRecord(again, whole)
		if err != nil {
			t.Fatal(err)
		}
		rec.Container.Name, rec.Container.ProfileInfo = in.Name, nil
		if diff := cmp.Diff(in, *rec.Container); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(snaps, asSnapshots(rec.entries)); diff != "" {
			t.Fatal(diff)
		}
	})
}

// checkYAML checks that a JSON text says the same as YAML, which is how LXD and Incus read it.
func checkYAML(t *rapid.T, raw []byte) {
	var one, two any
	if err := errors.Join(json.Unmarshal(raw, &one), yaml.Unmarshal(raw, &two)); err != nil {
		t.Fatalf("%v:\n%s", err, raw)
	}
	back, err := json.Marshal(two)
	if err == nil {
		err = json.Unmarshal(back, &two)
	}
	if diff := cmp.Diff(one, two); err != nil || diff != "" {
		t.Fatalf("as YAML: %v, %s", err, diff)
	}
}

// encoded is a record as bytes.
func encoded(old document, in *Instance, snaps []entry) ([]byte, error) {
	var out bytes.Buffer
	doc, err := encodeRecord(old, in, snaps)
	if err == nil {
		err = doc.write(&out)
	}
	return out.Bytes(), err
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(lxdRecord(f))
	f.Add([]byte(`{"container": {"config": {"a": "b"}}}`))
	f.Add([]byte("{\n\"container\": {\"name\":\"c1\"},\n\"snapshots\": [\n{\"name\":\"a\",\"created_at\":\"2026-01-02T03:04:05Z\",\"expires_at\":\"0001-01-01T00:00:00Z\",\"last_used_at\":\"0001-01-01T00:00:00Z\",\"stateful\":false,\"ephemeral\":false,\"more\":{}}\n],\n\"volume_snapshots\": []\n}\n"))
	f.Add([]byte("container: {}\nsnapshots:\n- &a {name: x}\n- *a\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		rec, err := decodeRecord(raw, whole)
		light, lerr := decodeRecord(raw, listed)
		if (err == nil) != (lerr == nil) && err == nil {
			t.Errorf("the list refuses it: %v", lerr)
		}
		if err != nil {
			return
		}
		if len(light.entries) != len(rec.entries) {
			t.Fatalf("%d snapshots, %d in a list", len(rec.entries), len(light.entries))
		}
		for i, e := range light.entries {
			if w := rec.entries[i]; e.Name != w.Name || !e.CreatedAt.Equal(w.CreatedAt) || !e.ExpiresAt.Equal(w.ExpiresAt) || e.Stateful != w.Stateful {
				t.Errorf("%+v, in a list %+v", w, e)
			}
		}
		rec.Container.Name = "c1"
		again, err := encoded(rec.doc, rec.Container, rec.entries)
		if err != nil {
			return // a year that JSON has no form for
		}
		if d, err := parseDocument(again); err != nil || !d.lines && !strings.Contains(string(again), `\`) {
			t.Errorf("what was written is not in lines: %v\n%s", err, again)
		}
		if _, err := decodeRecord(again, whole); err != nil {
			t.Errorf("what was written cannot be read: %v\n%s", err, again)
		}
	})
}

func FuzzAddMetadata(f *testing.F) {
	f.Add([]byte(metadata))
	f.Add([]byte(`{"architecture": "x86_64", "creation_date": -1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		rec := ImageRecord{Fingerprint: fingerprint}
		if err := addMetadata(&rec, raw); err != nil {
			return
		}
		if _, err := json.Marshal(rec); err != nil {
			t.Errorf("%+v cannot be saved: %v", rec, err)
		}
	})
}

func FuzzValidateNames(f *testing.F) {
	f.Add("a")
	f.Add("../a")
	f.Fuzz(func(t *testing.T, name string) {
		for _, err := range []error{ValidateInstanceName(name), ValidateSnapshotName(name)} {
			if err == nil && (checkComponent(name) != nil || strings.TrimSpace(name) != name) {
				t.Errorf("%q was accepted", name)
			}
		}
	})
}
