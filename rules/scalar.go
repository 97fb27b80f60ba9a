package rules

import (
	"strings"

	"gopkg.in/yaml.v3"
)

// inScalar finds the place in the file of a line (from 1) and column (from 0, in characters) inside a scalar's value, by walking over the value
// and over how it is written side by side.
func (w *walker) inScalar(n *yaml.Node, line, column int) Pos {
	left := column // characters of the value before the place
	for i, l := range strings.SplitN(n.Value, "\n", line) {
		if i < line-1 {
			left += len([]rune(l)) + 1
		}
	}
	s := &scalarWalk{w: w, style: n.Style, line: n.Line, column: n.Column - 1}
	switch {
	case s.block():
		s.nextLine()
		s.indent = w.blockIndent(n)
		s.enter()
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		s.column++
	}
	value := append([]rune(n.Value), 0)
	for i := range min(left, len(value)-1) {
		s.step(value[i], value[i+1])
	}
	s.settle()
	return Pos{File: w.file, Line: s.line, Column: s.column + 1}
}

// blockIndent is how far the lines of a block scalar are indented beyond what is part of its value.
func (w *walker) blockIndent(n *yaml.Node) int {
	blanks := func(s string) int { return len(s) - len(strings.TrimLeft(s, " ")) }
	for at := n.Line + 1; at <= len(w.lines); at++ {
		if strings.TrimSpace(w.line(at)) != "" {
			return blanks(w.line(at)) - blanks(strings.TrimLeft(n.Value, "\n"))
		}
	}
	return 0
}

// scalarWalk is a place in a scalar as it is written. Column counts from 0.
type scalarWalk struct {
	w            *walker
	style        yaml.Style
	line, column int
	indent       int // of a block's lines, which is not part of the value
}

func (s *scalarWalk) block() bool { return s.style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 }

func (s *scalarWalk) rest() []rune {
	text := []rune(s.w.line(s.line))
	return text[min(s.column, len(text)):]
}

func (s *scalarWalk) nextLine() { s.line, s.column = s.line+1, 0 }

func (s *scalarWalk) enter() {
	if s.block() {
		s.column = s.indent
		return
	}
	s.column = len(s.rest()) - len([]rune(strings.TrimLeft(string(s.rest()), " \t")))
}

// skipBlank goes on to the next line that has something in it.
func (s *scalarWalk) skipBlank() {
	for strings.TrimSpace(s.w.line(s.line)) == "" && s.line < len(s.w.lines) {
		s.nextLine()
	}
}

// step walks over one character of the value, which another follows.
func (s *scalarWalk) step(r, next rune) {
	s.settle()
	rest := s.rest()
	switch {
	case s.style&yaml.LiteralStyle != 0 && r == '\n':
		s.nextLine()
		s.enter()
	case len(rest) == 0 || !s.block() && r == ' ' && strings.TrimSpace(string(rest)) == "", s.style&yaml.FoldedStyle != 0 && r == '\n':
		s.nextLine()
		if next != '\n' {
			s.skipBlank() // the last of empty lines stands for no line break of the value
		}
		s.enter()
	case s.style&yaml.DoubleQuotedStyle != 0 && rest[0] == '\\' && len(rest) > 1:
		s.column += s.escape(rest, r)
	case s.style&yaml.SingleQuotedStyle != 0 && rest[0] == '\'':
		s.column += 2
	default:
		s.column++
	}
}

// settle moves over what stands for no character: a line break that is escaped.
func (s *scalarWalk) settle() {
	if rest := s.rest(); s.style&yaml.DoubleQuotedStyle != 0 && len(rest) == 1 && rest[0] == '\\' {
		s.nextLine()
		s.enter()
	}
}

// escape is how long the escape of a character is.
func (s *scalarWalk) escape(rest []rune, r rune) int {
	switch rest[1] {
	case 'x':
		return 4
	case 'u':
		if r > 0xFFFF {
			return 12 // a pair, which is JSON's
		}
		return 6
	case 'U':
		return 10
	}
	return 2
}
