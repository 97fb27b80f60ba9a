package rules

import (
	"cmp"
	"strconv"
	"strings"
)

// Number is a decimal number of any size, kept exactly: ±0.Digits × 10^Exponent, with no zero at either end of Digits.
// Zero has no digits. Equal numbers are equal structs, however they were written.
type Number struct {
	Negative bool
	Digits   string
	Exponent int64
}

// maxExponent bounds exponents; numbers beyond it are as if at the bound.
const maxExponent = 1 << 40

// ParseNumber reads a number as JSON writes them.
func ParseNumber(s string) (Number, bool) {
	var n Number
	if !jsonNumber.MatchString(s) {
		return n, false
	}
	s, n.Negative = strings.CutPrefix(s, "-")
	mantissa, exp := s, ""
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, exp = s[:i], s[i+1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return Number{}, true
	}
	n.Exponent = int64(len(digits) - len(fraction))
	n.Digits = strings.TrimRight(digits, "0")
	if exp != "" {
		e, err := strconv.ParseInt(exp, 10, 64)
		if err != nil || e > maxExponent || e < -maxExponent {
			e = maxExponent
			if strings.HasPrefix(exp, "-") {
				e = -maxExponent
			}
		}
		n.Exponent += e
	}
	return n, true
}

// Compare is negative, 0 or positive as n is less than, equal to or greater than m.
func (n Number) Compare(m Number) int {
	if n.sign() != m.sign() {
		return cmp.Compare(n.sign(), m.sign())
	}
	return n.sign() * cmp.Or(cmp.Compare(n.Exponent, m.Exponent), strings.Compare(n.Digits, m.Digits))
}

func (n Number) sign() int {
	switch {
	case n.Digits == "":
		return 0
	case n.Negative:
		return -1
	}
	return 1
}
