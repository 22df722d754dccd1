package runtime

import (
	"testing"
	"time"
)

func TestStartExecStop(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	begin := time.Now()
	inst := start(t, s)
	t.Logf("start took %v", time.Since(begin))
	out, code := run(t, inst, "", "sh", "-c", "id -u; hostname; cat /proc/1/comm; pwd")
	if want := "0\n" + s.Hostname + "\ninit\n/root\n"; code != 0 || out != want {
		t.Errorf("got %d, %q; want %q", code, out, want)
	}
	for range 5 {
		begin := time.Now()
		_, code := run(t, inst, "", "true")
		t.Logf("true took %v, %d", time.Since(begin), code)
	}
	begin = time.Now()
	if err := inst.Stop(t.Context(), StopOptions{Timeout: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Logf("stop took %v", time.Since(begin))
}
