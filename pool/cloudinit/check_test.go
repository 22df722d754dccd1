package cloudinit

import "testing"

// What `lxc config set` of LXD 5.0.2 says of the same.
func TestCheck(t *testing.T) {
	for v, right := range map[string]bool{
		"a: b": true, "{}": true, "# nothing": true, "": true, "null": true, "---": true, "a: &x 1\nb: *x": true, "a: 1\n---\n- b": true, "1: b": true,
		"hello": false, "[a, b]": false, "- a": false, "5": false, `""`: false, "\tx": false, "a: [": false, "? [a]\n: b": false, "a: *x": false, "<<: 5": false,
	} {
		if err := CheckMapping(v); (err == nil) != right {
			t.Errorf("CheckMapping(%q) = %v", v, err)
		}
		if err := CheckData("#cloud-config\n" + v); (err == nil) != right {
			t.Errorf("CheckData of the cloud-config %q = %v", v, err)
		}
	}
	for _, v := range []string{"#cloud-config", "hello", "- a", "#!/bin/sh\nx: [", "#cloud-config \n- a", "#cloud-config\r\n- a", "\n#cloud-config\n- a", "#cloud-config-archive\n- type: x"} {
		if err := CheckData(v); err != nil {
			t.Errorf("CheckData(%q) = %v", v, err)
		}
	}
}
