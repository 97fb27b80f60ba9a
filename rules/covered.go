package rules

import (
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"

	"github.com/eventrouter/eventrouter/rules/topic"
)

// covering finds rules that change nothing, as another rule holds wherever they do and names all of their pipelines. Candidates come from an
// index of type patterns, so that the work stays in proportion to the rules.
type covering struct {
	rules  []Rule
	index  map[string]*topic.Index[int] // by pipeline
	places map[string]int               // rules of each pipeline
	prints []fingerprint                // of the rules' patterns
	left   int                          // comparisons of patterns
}

// covered warns of rules that change nothing.
func (b *builder) covered() {
	c := &covering{rules: b.out.Rules, index: map[string]*topic.Index[int]{}, places: map[string]int{}, left: maxComparisons}
	c.prints = make([]fingerprint, len(c.rules))
	for i := range c.rules {
		c.prints[i] = c.rules[i].Match.fingerprint()
		for _, name := range c.rules[i].Pipelines {
			if c.index[name] == nil {
				c.index[name] = &topic.Index[int]{}
			}
			c.index[name].Add(c.rules[i].Type, i)
			c.places[name]++
		}
	}
	for i := range c.rules {
		if by, ok := c.by(i); ok {
			b.problems = append(b.problems, coveredBy(&c.rules[i], &c.rules[by]))
		}
	}
}

// What is beyond these bounds is not compared: the rules with which one is, and the patterns of one file.
const (
	maxCandidates  = 100
	maxComparisons = 1_000_000
)

// by finds the first rule that covers rule i. Of two that cover each other the later one is covered.
func (c *covering) by(i int) (int, bool) {
	r := &c.rules[i]
	rarest := slices.MinFunc(r.Pipelines, func(a, b string) int { return c.places[a] - c.places[b] })
	var candidates []int
	c.index[rarest].Walk(someKey(r.Type), func(j int) bool {
		if j != i {
			candidates = append(candidates, j)
		}
		return len(candidates) < maxCandidates
	})
	slices.Sort(candidates)
	for _, j := range candidates {
		if c.prints[j].needs&^c.prints[i].has != 0 {
			continue
		}
		if c.rules[j].Match != nil {
			if c.left--; c.left < 0 {
				continue
			}
		}
		if other := &c.rules[j]; other.covers(r) && (j < i || !r.covers(other)) {
			return j, true
		}
	}
	return 0, false
}

// fingerprint is a quick look at a pattern, a bit each for paths, and for values at them: only what has all that another needs can imply it.
type fingerprint struct{ needs, has uint64 }

func (p *Pattern) fingerprint() fingerprint {
	var f fingerprint
	if p == nil {
		return f
	}
	f.needs = ^uint64(0)
	for i := range p.Alternatives {
		a := &p.Alternatives[i]
		var needs uint64
		for j := range a.Fields {
			path := pathKey(a.Fields[j].Path)
			conditions := a.Fields[j].Conditions
			needs |= bit(path)
			f.has |= bit(path)
			for k := range conditions {
				if c := &conditions[k]; c.Op == OpEqual {
					value := bit(path, c.Text)
					f.has |= value
					if len(conditions) == 1 {
						needs |= value
					}
				}
			}
		}
		for _, and := range a.And {
			f.has |= and.fingerprint().has
		}
		f.needs &= needs
	}
	return f
}

// bit is one of 64, by the texts.
func bit(texts ...string) uint64 {
	h := fnv.New64a()
	for _, t := range texts {
		_, _ = io.WriteString(h, t) // it never fails
	}
	return 1 << (h.Sum64() % 64)
}

// someKey is a routing key that the pattern matches, with words in place of its wildcards that are no pattern's: what covers the pattern matches it.
func someKey(pattern string) string {
	words := strings.Split(pattern, ".")
	for i, word := range words {
		switch word {
		case "*":
			words[i] = "\x00"
		case "#":
			words[i] = "\x00.\x00.\x00"
		}
	}
	return strings.Join(words, ".")
}

// covers reports whether r holds wherever the other does, from the same exchanges, and names all of its pipelines.
func (r *Rule) covers(other *Rule) bool {
	switch {
	case r.Where != nil && (other.Where == nil || r.Where.Source != other.Where.Source), r.Match != nil && other.Match == nil:
		return false
	case len(r.From) > 0 && (len(other.From) == 0 || !containsAll(r.From, other.From)), !containsAll(r.Pipelines, other.Pipelines):
		return false
	}
	return newProof().implies(other.Match, r.Match) && (r.Type == other.Type || topic.Covers(r.Type, other.Type))
}

func containsAll(list, of []string) bool {
	for _, s := range of {
		if !slices.Contains(list, s) {
			return false
		}
	}
	return true
}

func coveredBy(r, by *Rule) Problem {
	what := "its type"
	if r.Conditional() {
		what = "all that it holds for"
	}
	with := "with the same pipelines"
	if len(by.Pipelines) > len(r.Pipelines) {
		with = "with its pipelines and more"
	}
	return Problem{
		Pos: r.Pos, Severity: Warning,
		Message: fmt.Sprintf("rule %q changes nothing: rule %q (%s) covers %s, %s", r.Name, by.Name, by.place(r), what, with),
	}
}

// place is where the rule stands, as seen from another.
func (r *Rule) place(from *Rule) string {
	if r.Pos.File == from.Pos.File {
		return fmt.Sprintf("line %d", r.Pos.Line)
	}
	return fmt.Sprintf("%s:%d", r.Pos.File, r.Pos.Line)
}
