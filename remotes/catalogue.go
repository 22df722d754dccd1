package remotes

import (
	"cmp"
	"slices"
	"strings"
)

// catalogue is what a remote offers.
type catalogue struct {
	images []Image
	// claims says which image (by its place in images) a name stands for.
	claims map[claim]int
	// defaultOS is the prefix ("ubuntu") that names may carry or leave out.
	defaultOS string
	native    string
	skip      skipped
	limit     error // a *LimitError: the catalogue is not to be used
}

// claim is a name that one image has: the first that asks for it.
type claim struct{ typ, arch, name string }

// newCatalogue sorts the images and hands out the aliases. url is the remote's
// (names on cloud-images.ubuntu.com are kept without "ubuntu/", as in LXD),
// native the machine's architecture.
func newCatalogue(files []*productsFile, url, native string) *catalogue {
	c := &catalogue{claims: map[claim]int{}, native: native}
	if url == ubuntuImages || strings.HasPrefix(url, ubuntuImages+"/") {
		c.defaultOS = "ubuntu"
	}
	var all []candidate
	for _, f := range files {
		all = append(all, expand(f, &c.skip)...)
		if len(all) > maxImages {
			c.limit = &LimitError{"images", maxImages}
			return c
		}
	}
	slices.SortFunc(all, compare)
	c.images = make([]Image, len(all))
	for i := range all {
		c.claimAliases(i, &all[i])
		c.images[i] = all[i].Image
	}
	return c
}

// ubuntuImages is the server whose images are all Ubuntu's.
const ubuntuImages = "https://cloud-images.ubuntu.com"

// compare orders images as LXD and Incus do: by os, release, variant, newest
// serial, architecture, preferred type of root; what is empty comes last. That
// is also the order in which they claim aliases. The fingerprint breaks ties,
// where the two leave it to chance.
func compare(a, b candidate) int {
	return cmp.Or(
		emptyLast(a.OS, b.OS),
		emptyLast(a.Release, b.Release),
		emptyLast(a.Variant, b.Variant),
		cmp.Compare(b.Serial, a.Serial),
		emptyLast(a.productArch, b.productArch),
		cmp.Compare(score(a.ftype), score(b.ftype)),
		cmp.Compare(a.Fingerprint, b.Fingerprint),
	)
}

func emptyLast(a, b string) int {
	if (a == "") != (b == "") {
		return cmp.Compare(b, a)
	}
	return cmp.Compare(a, b)
}

// score ranks a type of root; a unified image stands after the containers'
// roots and before the disks.
func score(ftype string) int {
	if i := slices.Index(rootFTypes, ftype); i >= 0 {
		return 2 * i
	}
	return 2*slices.Index(rootFTypes, "root.tar.xz") + 1
}

// claimAliases lets an image claim NAME and NAME/ARCH for each of its product's
// aliases; who came first has them.
func (c *catalogue) claimAliases(i int, img *candidate) {
	for _, n := range img.names {
		if c.defaultOS != "" {
			n = strings.TrimPrefix(n, c.defaultOS+"/")
		}
		c.claimOne(i, img, n, img.Arch == c.native)
		c.claimOne(i, img, n+"/"+img.productArch, true)
	}
}

func (c *catalogue) claimOne(i int, img *candidate, name string, display bool) {
	k := claim{typ: img.Type, arch: img.Arch, name: name}
	if _, taken := c.claims[k]; taken {
		return
	}
	if len(c.claims) >= maxAliases {
		c.limit = &LimitError{"aliases", maxAliases}
		return
	}
	c.claims[k] = i
	img.Aliases = append(img.Aliases, Alias{Name: name, Arch: img.Arch, Type: img.Type, Display: display})
}

// aliasNames splits a product's aliases. Names that could not be typed or shown
// are left out, and those beyond maxNames.
func aliasNames(list string) []string {
	var names []string
	for n := range strings.SplitSeq(list, ",") {
		n = strings.TrimSpace(n)
		if len(names) == maxNames {
			break
		}
		if n != "" && len(n) <= maxPathLen && !strings.ContainsFunc(n, isControl) {
			names = append(names, n)
		}
	}
	return names
}
