package remotes

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Aliases are the aliases of a product.
func (p *Publication) Aliases(product string) []string {
	var list string
	if prod := p.products[product]; prod == nil || json.Unmarshal(prod.fields["aliases"], &list) != nil {
		return nil
	}
	return aliasNames(list)
}

// SetAliases gives a product its aliases. Other products of the architecture that
// have one of them lose it.
func (p *Publication) SetAliases(product string, aliases []string) error {
	prod := p.products[product]
	if prod == nil {
		return fmt.Errorf("there is no product %q", product)
	}
	clean := make([]string, 0, len(aliases))
	for _, a := range aliases {
		if !strings.Contains(a, ",") && !slices.Contains(clean, a) {
			clean = append(clean, a)
		}
	}
	for id, other := range p.products {
		if id == product || string(other.fields["arch"]) != string(prod.fields["arch"]) {
			continue
		}
		have := p.Aliases(id)
		kept := slices.DeleteFunc(slices.Clone(have), func(a string) bool { return slices.Contains(clean, a) })
		if len(kept) != len(have) {
			if err := other.setAliases(kept); err != nil {
				return err
			}
		}
	}
	return prod.setAliases(clean)
}

func (prod *publishedProduct) setAliases(aliases []string) error {
	raw, err := json.Marshal(strings.Join(aliases, ","))
	prod.fields["aliases"] = raw
	return err
}
