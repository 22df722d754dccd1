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
	begin = time.Now()
	out, code := run(t, inst, "", "sh", "-c", "id; hostname; cat /proc/1/comm; mount; ls -la /dev /sys/fs/cgroup; cat /proc/self/cgroup; ps; grep Cap /proc/self/status; ulimit -a; env; pwd; tty; cat /proc/self/uid_map")
	t.Logf("exec took %v: %d\n%s", time.Since(begin), code, out)
	for range 5 {
		begin = time.Now()
		_, code = run(t, inst, "", "true")
		t.Logf("true took %v, %d", time.Since(begin), code)
	}
	begin = time.Now()
	if err := inst.Stop(t.Context(), StopOptions{Timeout: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	t.Logf("stop took %v", time.Since(begin))
}
