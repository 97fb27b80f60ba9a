package match

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/eventrouter/eventrouter/rules"
)

// conditions are the conditions of one field, of which any has to hold. Long lists of values are looked up, not gone through.
type conditions struct {
	texts   []string // where they are few
	set     map[string]struct{}
	numbers []number // ascending
	ranges  [][2]bound
	others  []*rules.Condition // on strings
	not     []conditions       // each holds for a leaf for which none of its conditions does
	yes     bool
	no      bool
	null    bool
	exists  bool // any leaf
	missing bool // no leaf
}

// manyTexts is from where on looking up is faster than comparing.
const manyTexts = 8

func makeConditions(list []rules.Condition) conditions {
	var c conditions
	for i := range list {
		c.add(&list[i])
	}
	if len(c.texts) > manyTexts {
		c.set = make(map[string]struct{}, len(c.texts))
		for _, t := range c.texts {
			c.set[t] = struct{}{}
		}
		c.texts = nil
	}
	slices.SortFunc(c.numbers, func(a, b number) int { return compareConstants(&a, &b) })
	return c
}

func (c *conditions) add(r *rules.Condition) {
	switch r.Op {
	case rules.OpExists:
		c.exists = true
	case rules.OpMissing:
		c.missing = true
	case rules.OpNot:
		c.not = append(c.not, makeConditions(r.Inner))
	case rules.OpRange:
		c.ranges = append(c.ranges, [2]bound{makeBound(r.Low), makeBound(r.High)})
	case rules.OpEqual:
		switch v := r.Value.(type) {
		case string:
			c.texts = append(c.texts, v)
		case rules.Number:
			c.numbers = append(c.numbers, constant(v))
		case bool:
			c.yes, c.no = c.yes || v, c.no || !v
		case nil:
			c.null = true
		}
	default:
		c.others = append(c.others, r)
	}
}

// hold reports whether a leaf fulfils any of the conditions.
func (c *conditions) hold(v *value) bool {
	if c.exists {
		return true
	}
	switch v.kind {
	case text:
		if c.holdText(v.text) {
			return true
		}
	case numeric:
		if c.holdNumber(v) {
			return true
		}
	case yes:
		if c.yes {
			return true
		}
	case no:
		if c.no {
			return true
		}
	case null:
		if c.null {
			return true
		}
	}
	for i := range c.not {
		if !c.not[i].hold(v) {
			return true
		}
	}
	return false
}

func (c *conditions) holdText(s string) bool {
	for _, t := range c.texts {
		if t == s {
			return true
		}
	}
	if _, ok := c.set[s]; ok {
		return true
	}
	for _, r := range c.others {
		if r.Op == rules.OpCIDR {
			if a, ok := address(s); ok && r.Block.Contains(a) {
				return true
			}
			continue
		}
		if r.HoldsString(s) {
			return true
		}
	}
	return false
}

func (c *conditions) holdNumber(v *value) bool {
	if _, found := slices.BinarySearchFunc(c.numbers, v, func(n number, v *value) int { return n.compare(v) }); found {
		return true
	}
	for i := range c.ranges {
		if c.ranges[i][0].below(v) && c.ranges[i][1].above(v) {
			return true
		}
	}
	return false
}

// address reads an IP address without a zone. What cannot be one is not even tried, since its error would be allocated.
func address(s string) (netip.Addr, bool) {
	if len(s) < 2 || len(s) > len("0000:0000:0000:0000:0000:ffff:255.255.255.255") || !strings.ContainsAny(s, ".:") {
		return netip.Addr{}, false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= ':', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F', c == '.':
		default:
			return netip.Addr{}, false
		}
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil
}
