package main

import (
	"testing"
	"time"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
)

// TestReadSnapshotEdit: of a snapshot its expiry can be changed, in a text of its own and
// among all that `show` prints; what else differs is refused.
func TestReadSnapshotEdit(t *testing.T) {
	day := time.Date(2030, 12, 31, 0, 0, 0, 0, time.UTC)
	was := pool.SnapshotConfig{Name: "s1", Config: map[string]string{"user.a": "1"}, Profiles: []string{"default"}, Size: -1, CreatedAt: day.AddDate(-5, 0, 0)}
	shown := func(change func(*pool.SnapshotInfo)) string {
		e, stdout, _ := testEnv(t)
		info := pool.SnapshotInfo{SnapshotConfig: was}
		info.Config = map[string]string{"user.a": "1"}
		change(&info)
		if err := output.Value(e.stdout, output.YAML, info); err != nil {
			t.Fatal(err)
		}
		return stdout()
	}
	for text, want := range map[string]time.Time{
		"expires_at: 2030-12-31T00:00:00Z\n": day,
		"{}":                                 {},
		shown(func(sn *pool.SnapshotInfo) { sn.ExpiresAt, sn.Size = day, 100 }): day,
		shown(func(*pool.SnapshotInfo) {}):                                      {},
	} {
		if got, err := readSnapshotEdit([]byte(text), was); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "expires_at: soon", "user.a: 2", "config: {user.a: \"2\"}", "config: {user.b: \"1\"}", shown(func(sn *pool.SnapshotInfo) { sn.Config["user.a"] = "2" }),
		shown(func(sn *pool.SnapshotInfo) { sn.Profiles = []string{"other"} }),
	} {
		if got, err := readSnapshotEdit([]byte(text), was); err == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
}
