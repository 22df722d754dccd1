package remotes

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// fill repeats what f writes up to n bytes or times.
func fill(bytes, times int, f func(i int) string) string {
	var b strings.Builder
	for i := 0; b.Len() < bytes && i < times; i++ {
		b.WriteString(f(i))
	}
	return strings.TrimSuffix(b.String(), ",")
}

// TestHostileCatalogues: documents that would become much more in memory than they
// are, or take very long, are refused by a limit, or read within bounds.
func TestHostileCatalogues(t *testing.T) {
	const most = 110 << 20 // bytes allocated in all, for one document
	const all = 1 << 30
	unified := func(i int) string {
		return fmt.Sprintf(`{"items":{"u":{"ftype":"lxd_combined.tar.gz","path":"u","sha256":"%064x","size":7}}}`, i)
	}
	product := func(fields string) string { return `{"products":{"x":{"arch":"amd64",` + fields + `}}}` }
	for name, tc := range map[string]struct {
		body func() string
		want string // of the *LimitError; "" = it is read
	}{
		"products": {func() string {
			return `{"products":{` + fill(16<<20, all, func(i int) string { return fmt.Sprintf(`"%x":{},`, i) }) + `}}`
		}, "objects"},
		"versions": {func() string {
			return product(`"versions":{` + fill(16<<20, all, func(i int) string { return fmt.Sprintf(`"20240101%x":{},`, i) }) + `}`)
		}, "objects"},
		"images": {func() string {
			return product(`"versions":{` + fill(all, maxImages+1, func(i int) string { return fmt.Sprintf(`"20240101%x":%s,`, i, unified(i)) }) + `}`)
		}, "images"},
		"most products": {func() string {
			return `{"products":{"x":{"versions":{}},` + fill(all, maxObjects-5, func(i int) string { return fmt.Sprintf(`"%x":{},`, i) }) + `}}`
		}, ""},
		"aliases": {func() string {
			return product(`"aliases":"` + fill(8<<20, 900_000, func(i int) string { return fmt.Sprintf(`%x,`, i) }) + `","versions":{` +
				fill(all, maxImages, func(i int) string { return fmt.Sprintf(`"20240101%x":%s,`, i, unified(i)) }) + `}`)
		}, ""},
		"aliases everywhere": {func() string {
			return `{"products":{` + fill(all, 3000, func(i int) string {
				return fmt.Sprintf(`"%x":{"arch":"amd64","aliases":"%s","versions":{"20240101":%s}},`, i, fill(all, maxNames, func(n int) string { return fmt.Sprintf("%x-%x,", i, n) }), unified(i))
			}) + `}}`
		}, "aliases"},
		"requirements": {func() string {
			return product(`"requirements":{` + fill(8<<20, 900_000, func(i int) string { return fmt.Sprintf(`"%x":"1",`, i) }) + `},"versions":{"20240101":` + unified(1) + `}`)
		}, ""},
		"values":  {func() string { return `{"products":{"x":[` + strings.Repeat(`1,`, 4<<20) + `1]}}` }, "values"},
		"arrays":  {func() string { return `{"products":{"x":` + strings.Repeat(`[`, 4<<20) + `}}` }, "values"},
		"deep":    {func() string { return `{"products":` + strings.Repeat(`{"a":`, 4<<20) }, "objects"},
		"indexes": {func() string { return `{"index":{` + strings.Repeat(`"":{},`, 1<<20) }, "objects"},
	} {
		t.Run(name, func(t *testing.T) {
			body := []byte(tc.body())
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			p, err := parseProducts(body)
			if err == nil {
				err = newCatalogue([]*productsFile{p}, "https://localhost", "x86_64").limit
			}
			runtime.ReadMemStats(&after)
			var le *LimitError
			if tc.want == "" && err != nil || tc.want != "" && (!errors.As(err, &le) || le.What != tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > most {
				t.Errorf("%d MiB allocated for %d MiB", got>>20, len(body)>>20)
			} else {
				t.Logf("%d MiB allocated for %d MiB", got>>20, len(body)>>20)
			}
		})
	}
	long := `{"products":{"x":"` + strings.Repeat(" ", maxDocument) + `"}}`
	if _, err := parseProducts([]byte(long)); !errors.Is(err, errTooLarge) {
		t.Errorf("a long document: %v", err)
	}
	paths, err := parseIndex([]byte(`{"index":{"a":{"datatype":"image-downloads","path":"a","products":[` + strings.Repeat(`"x",`, 900_000) + `"x"]}}}`))
	if err != nil || len(paths) != 1 {
		t.Errorf("many products: %v %v", paths, err)
	}
}
