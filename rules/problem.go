package rules

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Severity tells a problem that stops the file from being used from one that does not.
type Severity int

const (
	Error Severity = iota
	Warning
)

func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// MarshalText writes "error" or "warning".
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Problem is something in a rules file that its author should know of.
type Problem struct {
	Pos      Pos      `json:"pos"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	Hint     string   `json:"hint,omitempty"` // what to write instead, where that is clear
	Source   string   `json:"source,omitempty"`
}

// Problems are all that was found, in the order of the files and of the places in them.
// As an error they print one to a line.
type Problems []Problem

func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.File == "":
		return fmt.Sprintf("%d:%d", p.Line, p.Column)
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// String is the problem in one line: file:line:col: severity: message (hint).
func (p Problem) String() string {
	s := fmt.Sprintf("%s: %s: %s", p.Pos, p.Severity, p.Message)
	if p.Pos == (Pos{}) {
		s = fmt.Sprintf("%s: %s", p.Severity, p.Message)
	}
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}

// Error lists the problems, one to a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Errors are those that stop the file from being used.
func (ps Problems) Errors() Problems { return ps.only(Error) }

// Warnings are those that do not.
func (ps Problems) Warnings() Problems { return ps.only(Warning) }

func (ps Problems) only(s Severity) Problems {
	var out Problems
	for _, p := range ps {
		if p.Severity == s {
			out = append(out, p)
		}
	}
	return out
}

// PrintOptions say how Print looks. The zero value prints everything, without colour.
type PrintOptions struct {
	Color bool
	Max   int // problems printed at most; 0 is no limit
}

// Print writes each problem with its line of the file, a caret under the place and its hint.
func (ps Problems) Print(w io.Writer, o PrintOptions) error {
	paint := func(code, s string) string {
		if !o.Color {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}
	var b strings.Builder
	for i, p := range ps {
		if o.Max > 0 && i == o.Max {
			fmt.Fprintf(&b, "and %d more\n", len(ps)-i)
			break
		}
		severity := paint("31;1", "error")
		if p.Severity == Warning {
			severity = paint("33;1", "warning")
		}
		if p.Pos != (Pos{}) {
			b.WriteString(paint("1", p.Pos.String()) + ": ")
		}
		b.WriteString(severity + ": " + p.Message + "\n")
		if p.Pos.Line > 0 && strings.TrimSpace(p.Source) != "" {
			line, caret := excerpt(p.Source, p.Pos.Column)
			fmt.Fprintf(&b, "%5d | %s\n      | %s%s\n", p.Pos.Line, line, caret, paint("32;1", "^"))
		}
		if p.Hint != "" {
			b.WriteString("        " + paint("36", "hint") + ": " + p.Hint + "\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// maxExcerpt is how much of a line is shown, in characters.
const maxExcerpt = 100

// excerpt cuts a long line around column and gives the blanks that put a caret under it.
// Tabs become single spaces and other control characters dots, so that both lines run alike.
func excerpt(line string, column int) (shown, caret string) {
	runes := []rune(strings.ToValidUTF8(line, "\uFFFD"))
	at := min(max(column-1, 0), len(runes))
	if len(runes) > maxExcerpt {
		from := max(0, min(at-maxExcerpt/2, len(runes)-maxExcerpt))
		cut := runes[from : from+maxExcerpt]
		at -= from
		runes = slices.Clone(cut)
		if from > 0 {
			runes[0] = '…'
		}
		runes[len(runes)-1] = '…'
	}
	var text, under strings.Builder
	for i, r := range runes {
		if r == '\t' {
			r = ' '
		} else if r < ' ' || r == 0x7f {
			r = '.'
		}
		text.WriteRune(r)
		if i < at {
			under.WriteString(strings.Repeat(" ", cellWidth(r)))
		}
	}
	return strings.TrimRight(text.String(), " "), under.String()
}

// cellWidth is how many cells of a terminal a character takes: two for the wide ones of East Asian scripts and most emoji,
// none for combining marks.
func cellWidth(r rune) int {
	switch {
	case r >= 0x300 && r <= 0x36F, r == 0x200D, r >= 0xFE00 && r <= 0xFE0F:
		return 0
	case r >= 0x1100 && r <= 0x115F, r >= 0x2E80 && r <= 0xA4CF, r >= 0xAC00 && r <= 0xD7A3,
		r >= 0xF900 && r <= 0xFAFF, r >= 0xFE30 && r <= 0xFE6F, r >= 0xFF00 && r <= 0xFF60,
		r >= 0xFFE0 && r <= 0xFFE6, r >= 0x1F300 && r <= 0x1FAFF, r >= 0x20000 && r <= 0x3FFFD:
		return 2
	}
	return 1
}

// sorted orders the problems by file, as the files were given, and by place.
func (ps Problems) sorted(files []string) Problems {
	order := make(map[string]int, len(files))
	for i, f := range files {
		order[f] = i
	}
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(order[a.Pos.File], order[b.Pos.File]),
			cmp.Compare(a.Pos.Line, b.Pos.Line),
			cmp.Compare(a.Pos.Column, b.Pos.Column),
		)
	})
	return ps
}

// quote gives each problem its line of the file, where it has none yet.
func (ps Problems) quote(sources []Source) {
	texts := map[string][]string{}
	for i := range ps {
		p := &ps[i]
		if p.Source != "" || p.Pos.Line == 0 {
			continue
		}
		if texts[p.Pos.File] == nil {
			for _, s := range sources {
				if s.Name == p.Pos.File {
					texts[s.Name] = lines(string(s.Text))
				}
			}
		}
		if of := texts[p.Pos.File]; p.Pos.Line <= len(of) {
			p.Source = of[p.Pos.Line-1]
		}
	}
}

// yamlBreaks makes YAML 1.1's line breaks one, as the YAML library counts them.
var yamlBreaks = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")

// lines splits a text where a line of YAML ends.
func lines(text string) []string { return strings.Split(yamlBreaks.Replace(text), "\n") }

// closest is the candidate that differs least from what was written, if any is near enough to be meant.
func closest(written string, candidates []string) string {
	best, distance := "", max(1, utf8.RuneCountInString(written)/3)+1
	for _, c := range candidates {
		if d := editDistance(strings.ToLower(written), strings.ToLower(c)); d < distance {
			best, distance = c, d
		}
	}
	return best
}

// didYouMean is the hint for a name that is not one of the candidates.
func didYouMean(written string, candidates []string) string {
	if c := closest(written, candidates); c != "" {
		return fmt.Sprintf("did you mean %q?", c)
	}
	if len(candidates) == 0 || len(candidates) > 12 {
		return ""
	}
	return "one of " + strings.Join(candidates, ", ")
}

// editDistance is the optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
// Words over 64 bytes are not compared.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	var rows [3][65]int
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row, last, before := &rows[i%3], &rows[(i-1)%3], &rows[(i+1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return rows[len(a)%3][len(b)]
}
