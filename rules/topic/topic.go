// Package topic matches routing keys against topic patterns exactly as RabbitMQ's topic exchange does.
// It is written once here and shared by the checks of rules files, by the router's matcher and by the embedded broker.
//
// A routing key and a pattern are words between dots. In a pattern the word * stands for exactly one word and
// the word # for any number of words, none included. As tried on RabbitMQ:
//
//   - The empty key has no word at all (and so does the empty pattern): "#" matches it, "*" does not.
//   - Any other key has one word more than it has dots, and a word may be empty: "*.*" matches ".", "a.*.b" matches "a..b".
//   - * and # are wildcards only as whole words: "a*" is a literal, and wildcards in a routing key are literals.
//   - Bytes are compared: case counts, and nothing is normalised.
package topic

import "strings"

const (
	any1 = "*" // exactly one word
	anyN = "#" // any number of words
)

// Match reports whether the pattern matches the routing key. It allocates nothing, and its time is at most
// proportional to the product of the two lengths, whatever the number of # in the pattern.
// It is safe for concurrent use.
func Match(pattern, key string) bool {
	p, k := words(pattern), words(key)
	// As in the matching of globs, only the last # seen need ever be taken back: whatever an earlier one
	// could have swallowed, the last one can swallow as well.
	var backP, backK cursor
	hasBack := false
	for {
		switch word, ok := p.peek(); {
		case ok && word == anyN:
			p.next()
			backP, backK, hasBack = p, k, true
			continue
		case ok && !k.done() && (word == any1 || word == k.word()):
			p.next()
			k.next()
			continue
		case !ok && k.done():
			return true
		}
		if !hasBack || backK.done() {
			return false
		}
		backK.next()
		p, k = backP, backK
	}
}

// cursor walks over the words of a key without splitting it.
type cursor struct {
	rest string
	end  bool // no word left
}

func words(s string) cursor { return cursor{rest: s, end: s == ""} }

func (c *cursor) done() bool { return c.end }

func (c *cursor) word() string {
	if i := strings.IndexByte(c.rest, '.'); i >= 0 {
		return c.rest[:i]
	}
	return c.rest
}

func (c *cursor) peek() (string, bool) {
	if c.end {
		return "", false
	}
	return c.word(), true
}

func (c *cursor) next() {
	if i := strings.IndexByte(c.rest, '.'); i >= 0 {
		c.rest = c.rest[i+1:]
		return
	}
	c.rest, c.end = "", true
}
