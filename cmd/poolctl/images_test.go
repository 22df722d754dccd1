package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
	"poolctl/remotes"
)

func sampleImages() []imageView {
	day := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
	image := func(fp, desc, arch string, size int64, at time.Time, aliases ...remotes.Alias) imageView {
		return remoteImageView(remotes.Image{
			Fingerprint: fp, Arch: arch, Type: "container", Public: true, Size: size, CreatedAt: at, UploadedAt: at, ExpiresAt: time.Unix(0, 0), Aliases: aliases,
			Properties: map[string]string{"description": desc, "os": strings.Fields(desc)[0], "release": "3.8", "architecture": arch},
		})
	}
	a := func(name string, display bool) remotes.Alias { return remotes.Alias{Name: name, Display: display} }
	return []imageView{
		image("329e11d66dea8795b594", "Alpinelinux 3.8 amd64 (20211214_1947)", "x86_64", 2016096, day(2021, 12, 14)),
		image("ef1a4fe020b6e0705a23", "Alpinelinux 3.8 amd64 (20220731_1101)", "x86_64", 2052968, day(2022, 7, 31),
			a("alpinelinux/3.8/default", true), a("alpinelinux/3.8", true)),
		image("cd73881adaac667ca352", "alpine v3.13 arm64 (20210218_0139)", "aarch64", 3259593, day(2021, 2, 18), a("alpine", false), a("alpine/arm64", true)),
	}
}

const imagesListed = `+--------------------------+--------------+--------+---------------------------------------+--------------+-----------+--------+-------------------------------+
|          ALIAS           | FINGERPRINT  | PUBLIC |              DESCRIPTION              | ARCHITECTURE |   TYPE    |  SIZE  |          UPLOAD DATE          |
+--------------------------+--------------+--------+---------------------------------------+--------------+-----------+--------+-------------------------------+
| alpine/arm64             | cd73881adaac | yes    | alpine v3.13 arm64 (20210218_0139)    | aarch64      | CONTAINER | 3.11MB | Feb 18, 2021 at 12:00am (UTC) |
+--------------------------+--------------+--------+---------------------------------------+--------------+-----------+--------+-------------------------------+
| alpinelinux/3.8 (1 more) | ef1a4fe020b6 | yes    | Alpinelinux 3.8 amd64 (20220731_1101) | x86_64       | CONTAINER | 1.96MB | Jul 31, 2022 at 12:00am (UTC) |
+--------------------------+--------------+--------+---------------------------------------+--------------+-----------+--------+-------------------------------+
|                          | 329e11d66dea | yes    | Alpinelinux 3.8 amd64 (20211214_1947) | x86_64       | CONTAINER | 1.92MB | Dec 14, 2021 at 12:00am (UTC) |
+--------------------------+--------------+--------+---------------------------------------+--------------+-----------+--------+-------------------------------+
`

func TestImageList(t *testing.T) {
	for _, c := range []struct {
		format, columns string
		filters         []string
		want            string
	}{
		{output.Table, "lfpdatsu", nil, imagesListed},
		{output.CSV, "f", []string{"alpinelinux"}, "ef1a4fe020b6\n"},
		{output.CSV, "F", []string{"e0"}, "329e11d66dea8795b594\nef1a4fe020b6e0705a23\n"[21:]},
		{output.CSV, "f", []string{"3.8", "os=Alpine"}, ""},
		{output.CSV, "f", []string{"os=Alpine.+"}, "329e11d66dea\nef1a4fe020b6\n"},
		{output.CSV, "f", []string{"os=alpineLINUX"}, "329e11d66dea\nef1a4fe020b6\n"},
		{output.CSV, "f", []string{"OS=^alpinel"}, "329e11d66dea\nef1a4fe020b6\n"},
		{output.CSV, "f", []string{"architecture=AARCH64"}, "cd73881adaac\n"},
		{output.CSV, "f", []string{"arch=aarch64"}, "cd73881adaac\n"},
		{output.CSV, "f", []string{"architecture=aarch64", "type=container", "public=true"}, "cd73881adaac\n"},
		{output.CSV, "f", []string{"type=virtual-machine"}, ""},
		{output.CSV, "e", []string{"size=2016096"}, "default\n"},
		{output.CSV, "f,L", []string{"rel=3.8", "ef1a"}, "ef1a4fe020b6,\"alpinelinux/3.8\nalpinelinux/3.8/default\"\n"},
	} {
		cols, err := imageColumnsOf(c.columns)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := imageList(sampleImages(), c.filters, cols).Write(&b, c.format); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Errorf("%q %q (-want +got):\n%s", c.columns, c.filters, diff)
		}
	}
	var b strings.Builder
	if err := imageList(sampleImages(), []string{"nothing"}, nil).Write(&b, output.JSON); err != nil || b.String() != "[]\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// TestImageListColumns: a list without columns is none.
func TestImageListColumns(t *testing.T) {
	for _, letters := range []string{"", ",", "z"} {
		if cols, err := imageColumnsOf(letters); err == nil {
			t.Errorf("%q: %d columns", letters, len(cols))
		}
	}
}

func TestImageListArgs(t *testing.T) {
	for line, want := range map[string]string{
		"": "|", "images:": "images|", "images: alpine": "images|alpine", "images:alpine arm": "images|alpine,arm",
		"alpine": "|alpine", "local: x": "local|x", "os=a:b": "|os=a:b", "a b:c": "|a,b:c",
	} {
		remote, filters := imageListArgs(strings.Fields(line))
		if got := remote + "|" + strings.Join(filters, ","); got != want {
			t.Errorf("%q: %q; want %q", line, got, want)
		}
	}
}

// TestImageText is what lxc shows of an image that it copied.
func TestImageText(t *testing.T) {
	at := time.Date(2026, 11, 23, 23, 56, 0, 0, time.UTC)
	v := localImageView(pool.Image{
		Fingerprint: "ef1a4fe020b6", Size: 2052968, Architecture: "x86_64", Type: "container", CreatedAt: time.Date(2022, 7, 31, 0, 0, 0, 0, time.UTC),
		UploadedAt: at, LastUsedAt: at, ExpiresAt: time.Unix(0, 0), Properties: map[string]string{"os": "Alpinelinux", "description": "Alpine"},
		Aliases: []pool.ImageAlias{{Name: "long", Description: "for a long name"}, {Name: "a1"}}, Pool: "default", Profiles: []string{"default", "web"},
		UpdateSource: &pool.ImageSource{Server: "https://localhost:1", Protocol: "simplestreams", Alias: "alpinelinux/3.8"},
	})
	want := `Fingerprint: ef1a4fe020b6
Size: 1.96MB
Architecture: x86_64
Type: container
Public: no
Timestamps:
    Created: 2022/07/31 00:00 UTC
    Uploaded: 2026/11/23 23:56 UTC
    Expires: never
    Last used: 2026/11/23 23:56 UTC
Properties:
    description: Alpine
    os: Alpinelinux
Aliases:
    - long (for a long name)
    - a1
Cached: no
Auto update: disabled
Source:
    Server: https://localhost:1
    Protocol: simplestreams
    Alias: alpinelinux/3.8
Profiles:
    - default
    - web
Pool: default
`
	if diff := cmp.Diff(want, imageText(v)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if shortestAlias(v) != "a1 (1 more)" {
		t.Errorf("%q", shortestAlias(v))
	}
}
