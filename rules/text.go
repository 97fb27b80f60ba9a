package rules

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Expand replaces each ${VAR} by what lookup says, and $${ by ${. A variable that lookup does not know, and a ${ that
// does not hold a variable's name, is an error that names it. What is put in is not looked at again.
func (t Text) Expand(lookup func(name string) (string, bool)) (string, error) {
	var out strings.Builder
	rest := string(t)
	for {
		i := strings.Index(rest, "${")
		if i < 0 {
			out.WriteString(rest)
			return out.String(), nil
		}
		if i > 0 && rest[i-1] == '$' {
			out.WriteString(rest[:i-1] + "${")
			rest = rest[i+2:]
			continue
		}
		out.WriteString(rest[:i])
		name, after, found := strings.Cut(rest[i+2:], "}")
		if !found || !variableName.MatchString(name) {
			return "", fmt.Errorf("%q is no variable's name in ${}", shorten(name))
		}
		value, ok := lookup(name)
		if !ok {
			return "", fmt.Errorf("variable %q is not set", name)
		}
		out.WriteString(value)
		rest = after
	}
}

// Variables are the names that stand in ${}, in order, each once.
func (t Text) Variables() []string {
	var names []string
	seen := map[string]bool{}
	_, _ = t.Expand(func(name string) (string, bool) {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
		return "", true
	})
	return names
}

// Texts are all texts of the step.
func (s *Step) Texts() []Text {
	var out []Text
	add := func(m map[string]Text) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			out = append(out, m[name])
		}
	}
	switch {
	case s.Webhook != nil:
		out = append(out, s.Webhook.URL, s.Webhook.Secret)
		add(s.Webhook.Headers)
	case s.Exec != nil:
		out = append(append(out, s.Exec.Command...), s.Exec.Dir)
		add(s.Exec.Env)
	case s.Append != nil:
		out = append(out, s.Append.Path)
	case s.Forward != nil:
		out = append(out, s.Forward.Exchange, s.Forward.Key)
	}
	return out
}

// Unset warns of each variable that lookup does not know, at the first step that needs it. `check` shows it; `run` would not start.
func (f *File) Unset(lookup func(name string) (string, bool)) Problems {
	var unset []string
	first := map[string]*Step{}
	needs := map[string][]string{} // the pipelines of each variable
	for _, p := range f.Pipelines {
		for i := range p.Steps {
			for _, name := range p.Steps[i].variables() {
				if _, ok := lookup(name); ok || slices.Contains(needs[name], p.Name) {
					continue
				}
				if first[name] == nil {
					first[name] = &p.Steps[i]
					unset = append(unset, name)
				}
				needs[name] = append(needs[name], p.Name)
			}
		}
	}
	var out Problems
	for _, name := range unset {
		who := fmt.Sprintf("pipeline %q", needs[name][0])
		if len(needs[name]) > 1 {
			who = fmt.Sprintf("the pipelines %s", strings.Join(needs[name], ", "))
		}
		at := first[name]
		out = append(out, Problem{Pos: at.Pos, Source: at.line, Severity: Warning, Message: fmt.Sprintf("variable %q is not set; %s cannot run without it", name, who)})
	}
	return out
}

func (s *Step) variables() []string {
	var names []string
	for _, t := range s.Texts() {
		names = append(names, t.Variables()...)
	}
	return names
}
