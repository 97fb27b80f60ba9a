package topic

import (
	"slices"
	"strings"
)

// Covers reports whether general matches every routing key that special matches. true is always right; in rare shapes,
// such as "#.a" by "*.#", the answer is false although it is so. Its time is proportional to the product of the numbers of words. It is safe for concurrent use.
func Covers(general, special string) bool {
	g, s := split(general), split(special)
	// covers[j] answers for the words of general from i on and those of special from j on. Where special has #, it stands for
	// no word or for any words in place of which it stays; where both walk on, a * of special stands for every word,
	// the empty one too, so only a * or # of general covers it.
	covers := make([]bool, len(s)+1)
	for i := len(g); i >= 0; i-- {
		var diagonal bool // covers[j+1] of the row i+1
		for j := len(s); j >= 0; j-- {
			below := covers[j] // row i+1
			switch {
			case i == len(g):
				// Nothing is left in general: special may hold only nothing, and # can be more than nothing.
				covers[j] = j == len(s)
			case g[i] == anyN:
				covers[j] = below || j < len(s) && covers[j+1]
			case j == len(s):
				covers[j] = false
			case s[j] == anyN:
				covers[j] = false
			case g[i] == any1 || g[i] == s[j]:
				covers[j] = diagonal
			default:
				covers[j] = false
			}
			diagonal = below
		}
	}
	return covers[0]
}

// Meet reports whether there may be a routing key that both patterns match. false is always right. It is safe for concurrent use.
func Meet(one, other string) bool {
	a, b := split(one), split(other)
	// meet[j] answers for the words of one from i on and those of other from j on.
	meet := make([]bool, len(b)+1)
	for i := len(a); i >= 0; i-- {
		var diagonal bool // meet[j+1] of the row i+1
		for j := len(b); j >= 0; j-- {
			below := meet[j] // row i+1
			switch {
			case i == len(a) && j == len(b):
				meet[j] = true
			case i < len(a) && a[i] == anyN:
				meet[j] = below || j < len(b) && meet[j+1]
			case j < len(b) && b[j] == anyN:
				meet[j] = meet[j+1] || i < len(a) && below
			case i == len(a) || j == len(b):
				meet[j] = false
			default:
				meet[j] = diagonal && (a[i] == any1 || b[j] == any1 || a[i] == b[j])
			}
			diagonal = below
		}
	}
	return meet[0]
}

func split(pattern string) []string {
	if pattern == "" {
		return nil
	}
	words := strings.Split(pattern, ".")
	// In a run of wildcards only the number of * and whether there is a # matter: all * go first, then one #.
	for i := 0; i < len(words); i++ {
		stars, open, j := 0, false, i
		for ; j < len(words) && (words[j] == any1 || words[j] == anyN); j++ {
			if words[j] == any1 {
				stars++
			} else {
				open = true
			}
		}
		if !open {
			i = max(i, j-1)
			continue
		}
		run := append(slices.Repeat([]string{any1}, stars), anyN)
		words = slices.Replace(words, i, j, run...)
		i += len(run) - 1
	}
	return words
}
