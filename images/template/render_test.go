package template

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func testData() Data {
	return Data{
		Trigger: "create", Path: "/etc/hosts",
		Instance:   map[string]string{"name": "c1", "type": "container", "architecture": "x86_64", "ephemeral": "false", "privileged": "true"},
		Config:     map[string]string{"user.meta-data": "a: b\n", "html": "<a href='x'>&"},
		Devices:    map[string]map[string]string{"eth0": {"type": "nic", "network": "br0"}},
		Properties: map[string]string{"os": "alpine", "list": "a b c"},
	}
}

func TestRender(t *testing.T) {
	for source, want := range map[string]string{
		"": "", "plain\n": "plain\n",
		"{{ container.name }}\n": "c1\n",
		"{{ instance.name }} {{ instance.type }} {{ instance.architecture }} {{ instance.ephemeral }} {{ instance.privileged }}": "c1 container x86_64 false true",
		"{{ trigger }} {{ path }} {{ properties.os }}":                 "create /etc/hosts alpine",
		`[{{ config_get("user.meta-data", "none") }}]`:                 "[a: b]",
		`[{{ config_get("user.other", "none") }}]`:                     "[none]",
		`{{ config.html }}`:                                            "<a href='x'>&",
		`{{ devices.eth0.network }}`:                                   "br0",
		`{% if config_get("x", "") == "" %}no{% else %}yes{% endif %}`: "no",
		`{% if instance.type == "virtual-machine" %}enp5s0{% elif trigger == "create" %}eth0{% endif %}`: "eth0",
		// rendered in the child:
		`{{ container.name|upper }}`:                                                                "C1",
		`{% for k, v in devices.eth0 sorted %}{{ k }}={{ v }};{% endfor %}`:                         "network=br0;type=nic;",
		`{% set x = "1" %}{{ x }}{{ config.html|default:"x" }}`:                                     "1<a href='x'>&",
		`{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m("b") }}`:                                       "<b>",
		`{{ config_get("user.other", "none")|upper }}{{ config_get("user.meta-data", "")|length }}`: "NONE4",
	} {
		got, err := Render(t.Context(), []byte(source), testData())
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", source, got, err, want)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	for source, want := range map[string]string{
		`{% include "/etc/passwd" %}`:       "include",
		`{% ssi "/etc/passwd" %}`:           "ssi",
		`{% import "/etc/passwd" x %}`:      "import",
		`{% extends "/etc/passwd" %}`:       "extends",
		`{%include "/etc/passwd"%}`:         "include",
		`{% if trigger %}`:                  "",
		`{{ `:                               "",
		`{% nosuchtag %}`:                   "",
		`{{ container.name|nosuchfilter }}`: "",
		strings.Repeat("x", MaxSource+1):    "longer than 256 KiB",
	} {
		out, err := Render(t.Context(), []byte(source), testData())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %q, %v, want %q", source, out, err, want)
		}
	}
}

// TestBombs: templates that would never end, or take all memory, end soon and
// leave this process alone.
func TestBombs(t *testing.T) {
	loop := strings.Repeat(`{% for a in properties.list|ljust:1000 %}`, 4)
	ends := strings.Repeat(`{% endfor %}`, 4)
	doubling := `{% set x = "xxxxxxxxxxxxxxxx" %}` + strings.Repeat(`{% set x = x|add:x %}`, 60)
	for name, tc := range map[string]struct {
		source string
		is     error
	}{
		"silent loop":     {loop + ends, ErrResources},
		"output":          {loop + "0123456789" + ends, ErrOutput},
		"macro recursion": {`{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}`, ErrResources},
		"macro tree":      {`{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}`, ErrResources},
		"doubling":        {doubling + "{{ x|length }}", ErrResources},
		"padding":         {`{{ "x"|ljust:99999999999 }}`, nil},
		"width":           {`{{ 1|stringformat:"%0999999999999d" }}`, nil},
		"nesting":         {"{{ " + strings.Repeat("(", 200<<10), nil},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			out, err := Render(t.Context(), []byte(tc.source), testData())
			if tc.is != nil && !errors.Is(err, tc.is) && !strings.Contains(errText(err), tc.is.Error()) {
				t.Errorf("got %d bytes, %v, want %v", len(out), err, tc.is)
			}
			if err == nil && len(out) > MaxOutput {
				t.Errorf("%d bytes came out", len(out))
			}
			if d := time.Since(start); d > MaxTime+2*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestRenderCancel(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	source := strings.Repeat(`{% for a in properties.list|ljust:1000 %}`, 4) + strings.Repeat(`{% endfor %}`, 4)
	_, err := Render(ctx, []byte(source), testData())
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 3*time.Second {
		t.Errorf("got %v after %s", err, time.Since(start))
	}
}

func TestPlain(t *testing.T) {
	for source, want := range map[string]bool{
		"x {{ a }}": true, "{% if a %}b{% elif c %}{% else %}{% endif %}": true, "{%- if a -%}{%endif%}": true,
		"{% for a in b %}": false, "{{ a|upper }}": false, "{%set a=1%}": false, "{% iffy %}": false, "{%": false, "{% if": false,
		"{# {% for %} #}": false, strings.Repeat("x", plainSource+1): false,
	} {
		if got := plain(source); got != want {
			t.Errorf("%.40s: %v", source, got)
		}
	}
}

// FuzzRender: a template that counts as plain is rendered, or refused, here in
// little time, whatever it is.
func FuzzRender(f *testing.F) {
	for _, s := range []string{
		"{{ container.name }}", `{% if config_get("a","b") == "b" %}x{% else %}y{% endif %}`, "{{ devices.eth0.type }}{# x #}",
		"{{ 9^9^9^9 }}{{ 1/0 }}{{ -1 % 0 }}", "{{ config.a.b.c[1] }}", `{{ "a" + "b" * 3 }}`, "{{ instance }}", "{{ config_get() }}", "{{ ((((1)))) }}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		if !plain(source) {
			return
		}
		d := testData()
		start := time.Now()
		out, _ := execute([]byte(source), &d) // an error is fine
		if len(out) > MaxOutput || time.Since(start) > 5*time.Second {
			t.Fatalf("%d bytes in %s from %q", len(out), time.Since(start), source)
		}
	})
}

func BenchmarkRenderPlain(b *testing.B)   { benchmark(b, "{{ container.name }}") }
func BenchmarkRenderInChild(b *testing.B) { benchmark(b, "{{ container.name|upper }}") }

func benchmark(b *testing.B, source string) {
	for b.Loop() {
		if _, err := Render(b.Context(), []byte(source), testData()); err != nil {
			b.Fatal(err)
		}
	}
}
