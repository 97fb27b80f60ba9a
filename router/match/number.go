package match

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/eventrouter/eventrouter/rules"
)

// number is a decimal number that is compared exactly, but mostly as a float64: rounding keeps the order, so numbers whose
// roundings differ compare as those do. Only where the roundings are equal the digits decide.
type number struct {
	rounded float64
	// short numbers have at most 15 digits and are far from the ends of float64's range: different ones have
	// different roundings.
	short bool
	exact decimal
}

// decimal is ±0.ab × 10^exponent, as rules.Number, with its digits where they lie: a followed by b, with no zero at the beginning.
// There may be zeros at the end.
type decimal struct {
	negative bool
	exponent int64
	a, b     string
}

// maxExponent is that of rules.ParseNumber.
const maxExponent = 1 << 40

// constant makes a number of one in a pattern.
func constant(n rules.Number) number {
	out := number{exact: decimal{negative: n.Negative, exponent: n.Exponent, a: n.Digits}}
	text := "0." + n.Digits + "e" + strconv.FormatInt(n.Exponent, 10)
	if n.Digits == "" {
		text = "0"
	}
	if n.Negative {
		text = "-" + text
	}
	out.rounded, _ = strconv.ParseFloat(text, 64) // out of range is an infinity
	out.rounded += 0                              // -0 becomes 0
	out.short = len(n.Digits) <= 15 && n.Exponent > -250 && n.Exponent < 250
	return out
}

var powers = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// round gives the nearest float64 of a number in JSON's syntax, and whether it is short.
func round(text string) (rounded float64, short bool) {
	var mantissa uint64
	i, digits, fraction := 0, 0, 0
	if text[0] == '-' {
		i++
	}
	point := false
	for ; i < len(text); i++ {
		c := text[i]
		if c == '.' {
			point = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		if digits > 0 || c != '0' {
			digits++
		}
		if digits > 15 {
			break
		}
		mantissa = mantissa*10 + uint64(c-'0')
		if point {
			fraction++
		}
	}
	if i == len(text) && fraction < len(powers) {
		// Both are exact, so that the quotient is rounded once.
		rounded = float64(mantissa) / powers[fraction]
		if text[0] == '-' && mantissa != 0 {
			rounded = -rounded
		}
		return rounded, true
	}
	rounded, _ = strconv.ParseFloat(text, 64) // out of range is an infinity
	return rounded + 0, false                 // -0 becomes 0
}

// parseDecimal reads JSON's syntax.
func parseDecimal(text string) decimal {
	var d decimal
	text, d.negative = strings.CutPrefix(text, "-")
	exponent := ""
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		text, exponent = text[:i], text[i+1:]
	}
	whole, fraction, _ := strings.Cut(text, ".")
	d.a = strings.TrimLeft(whole, "0")
	d.exponent = int64(len(d.a))
	d.b = fraction
	if d.a == "" {
		d.b = strings.TrimLeft(fraction, "0")
		d.exponent = int64(len(d.b) - len(fraction))
	}
	if exponent != "" && d.a+d.b != "" {
		e, err := strconv.ParseInt(exponent, 10, 64)
		if err != nil || e > maxExponent || e < -maxExponent {
			e = maxExponent
			if exponent[0] == '-' {
				e = -maxExponent
			}
		}
		d.exponent += e
	}
	return d
}

func (d *decimal) sign() int {
	switch {
	case strings.Trim(d.a, "0") == "" && strings.Trim(d.b, "0") == "":
		return 0
	case d.negative:
		return -1
	}
	return 1
}

func (d *decimal) digit(i int) byte {
	switch {
	case i < len(d.a):
		return d.a[i]
	case i < len(d.a)+len(d.b):
		return d.b[i-len(d.a)]
	}
	return '0'
}

func (d *decimal) compare(o *decimal) int {
	sign := d.sign()
	if s := o.sign(); s != sign || sign == 0 {
		return cmp.Compare(sign, s)
	}
	if c := cmp.Compare(d.exponent, o.exponent); c != 0 {
		return sign * c
	}
	for i := range max(len(d.a)+len(d.b), len(o.a)+len(o.b)) {
		if c := cmp.Compare(d.digit(i), o.digit(i)); c != 0 {
			return sign * c
		}
	}
	return 0
}

// compareConstants orders numbers of patterns.
func compareConstants(a, b *number) int {
	if c := cmp.Compare(a.rounded, b.rounded); c != 0 || a.short && b.short {
		return c
	}
	return a.exact.compare(&b.exact)
}

// compare orders a number of a pattern and one of the event.
func (n *number) compare(v *value) int {
	switch {
	case n.rounded < v.rounded:
		return -1
	case n.rounded > v.rounded:
		return 1
	case n.short && v.short:
		return 0
	}
	exact := parseDecimal(v.text)
	return n.exact.compare(&exact)
}

// bound is one end of a range, where it is set.
type bound struct {
	number    number
	set       bool
	inclusive bool
}

func makeBound(b rules.Bound) bound { return bound{constant(b.Number), b.Set, b.Inclusive} }

// below reports whether the bound, as the lower one, lets the value in.
func (b *bound) below(v *value) bool {
	if !b.set {
		return true
	}
	c := b.number.compare(v)
	return c < 0 || b.inclusive && c == 0
}

// above reports whether the bound, as the upper one, lets the value in.
func (b *bound) above(v *value) bool {
	if !b.set {
		return true
	}
	c := b.number.compare(v)
	return c > 0 || b.inclusive && c == 0
}
