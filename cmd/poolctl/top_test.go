package main

import (
	"strings"
	"testing"
	"time"

	"poolctl/pool"
	"poolctl/runtime"
)

func TestTopView(t *testing.T) {
	cols, err := topColumns("ncu,N")
	if err != nil {
		t.Fatal(err)
	}
	now := []pool.LiveInstance{
		{Name: "b", PID: 2, Stats: runtime.Stats{CPU: time.Second, Memory: 5, Processes: 3}},
		{Name: "a", PID: 1, Paused: true, Stats: runtime.Stats{CPU: 2 * time.Second, Memory: 9, Processes: 1}},
	}
	v := &topView{columns: cols, sort: "cpu", look: func() ([]pool.LiveInstance, error) { return now, nil }}
	if err := v.update(); err != nil {
		t.Fatal(err)
	}
	if got := v.list().Rows; got[0][0] != "a" || got[0][1] != "0.0%" || got[0][2] != "2.00" {
		t.Errorf("first look: %q", got)
	}
	v.at = v.at.Add(-time.Second)
	now[0].CPU += 500 * time.Millisecond
	if err := v.update(); err != nil {
		t.Fatal(err)
	}
	if r := v.rows[0]; r.Name != "b" || r.CPU < 40 || r.CPU > 51 || v.rows[1].Status != "Frozen" {
		t.Errorf("second look: %+v", v.rows)
	}
	for key, first := range map[byte]string{'m': "a", 'p': "b", 'n': "a", 't': "a", 'c': "b"} {
		if !v.key(key) || v.rows[0].Name != first {
			t.Errorf("key %c: %+v", key, v.rows)
		}
	}
	if v.key('x') || !strings.Contains(v.title(), "2 running") {
		t.Errorf("key x, or %q", v.title())
	}
	// A restart begins at 0.
	now[0].PID, now[0].CPU = 7, time.Millisecond
	if err := v.update(); err != nil || v.rows[1].CPU != 0 {
		t.Errorf("%v, %+v", err, v.rows)
	}
	for _, bad := range []string{"", "x", "nz"} {
		if _, err := topColumns(bad); err == nil {
			t.Errorf("columns %q were taken", bad)
		}
	}
}
