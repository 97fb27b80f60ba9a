package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/router/plan"
)

func (c *console) graphCommand() *cobra.Command {
	var named rulesFlag
	var form string
	var all bool
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Draw which events go through which rules into which pipelines",
		Long: `Draw the rules as a picture: exchanges on the left, rules in the middle, pipelines on the right. Rules that look at
content have a bold frame; they, and the pipelines that they feed, take their events from eventrouter, all others
from the broker alone.

More than 40 rules are drawn in groups: those from the same exchanges into the same pipelines are one box.
--all draws each. No broker is needed.`,
		Example: `  eventrouter graph -o svg > rules.svg
  eventrouter graph -o dot | dot -Tpng > rules.png
  eventrouter graph -o mermaid            # for Markdown`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			draw, known := map[string]func(io.Writer, *graph) error{"dot": writeDOT, "mermaid": writeMermaid, "svg": writeSVG}[form]
			if !known {
				return usagef(cmd, "--output %q is neither dot, mermaid nor svg", form)
			}
			_, p, err := named.load(c, cmd, nil)
			if err != nil {
				return err
			}
			return draw(c.out, newGraph(p, all))
		},
	}
	named.add(cmd)
	cmd.Flags().StringVarP(&form, "output", "o", "svg", "form of the picture: svg, dot (Graphviz) or mermaid")
	complete(cmd, "output", "svg", "dot", "mermaid")
	cmd.Flags().BoolVar(&all, "all", false, "draw each rule, however many")
	scope(cmd, "graph", "output", "all")
	scope(cmd, "graph", "output", "all")
	return cmd
}

// graph is a picture of rules: three columns, and the lines between neighbouring ones.
type graph struct {
	name      string
	exchanges []node
	rules     []node
	pipelines []node
}

// node is a box. What it leads to are indices into the next column.
type node struct {
	title string
	lines []string
	bold  bool // looks at content, or is fed by the router
	to    []int
}

const (
	maxRules  = 40 // drawn one by one
	maxGroups = 60 // drawn at all, of rules or pipelines
	maxTypes  = 3  // named in a group
)

func newGraph(p *plan.Plan, all bool) *graph {
	g := &graph{name: p.Name}
	for _, x := range p.Exchanges {
		g.exchanges = append(g.exchanges, node{title: x.Name})
	}
	drawn := min(len(p.Pipelines), maxGroups)
	if all {
		drawn = len(p.Pipelines)
	}
	for i := range p.Pipelines[:drawn] {
		g.pipelines = append(g.pipelines, pipelineNode(&p.Pipelines[i]))
	}
	if more := len(p.Pipelines) - drawn; more > 0 {
		g.pipelines = append(g.pipelines, node{title: fmt.Sprintf("%d more pipelines", more)})
	}
	groups := grouped(p, all)
	slices.SortStableFunc(groups, func(a, b ruleGroup) int { return cmp.Compare(a.middle(), b.middle()) })
	for i, group := range groups {
		n := group.node(p)
		for _, at := range group.pipelines {
			if at = min(at, len(g.pipelines)-1); !slices.Contains(n.to, at) {
				n.to = append(n.to, at)
			}
		}
		g.rules = append(g.rules, n)
		for _, from := range group.from {
			g.exchanges[from].to = append(g.exchanges[from].to, i)
		}
	}
	return g
}

func pipelineNode(p *plan.Pipeline) node {
	n := node{title: p.Name, bold: p.Feed == plan.ByRouter}
	for i := range p.Steps {
		s := &p.Steps[i]
		switch {
		case s.Webhook != nil:
			n.lines = append(n.lines, "webhook "+string(s.Webhook.URL))
		case s.Exec != nil:
			n.lines = append(n.lines, "exec "+string(s.Exec.Command[0]))
		case s.Append != nil:
			n.lines = append(n.lines, "file "+string(s.Append.Path))
		case s.Forward != nil:
			n.lines = append(n.lines, "forward "+string(s.Forward.Exchange))
		case s.Log != nil:
			n.lines = append(n.lines, "log")
		}
	}
	return n
}

// ruleGroup is rules that are drawn as one box.
type ruleGroup struct {
	rules           []int
	from, pipelines []int
	bold            bool
}

// middle is where in the column of pipelines the lines of a group end on average.
func (g *ruleGroup) middle() float64 {
	sum := 0
	for _, at := range g.pipelines {
		sum += at
	}
	return float64(sum) / float64(max(1, len(g.pipelines)))
}

// grouped puts rules together, if they are many: those from the same exchanges to the same pipelines. Groups beyond maxGroups, the smallest ones, become one.
func grouped(p *plan.Plan, all bool) []ruleGroup {
	alone := all || len(p.Rules) <= maxRules
	index := map[string]int{}
	var groups []ruleGroup
	for i := range p.Rules {
		r := &p.Rules[i]
		g := ruleGroup{rules: []int{i}, bold: r.Conditional()}
		for at, x := range p.Exchanges {
			if len(r.From) == 0 || slices.Contains(r.From, x.Key) {
				g.from = append(g.from, at)
			}
		}
		for at := range p.Pipelines {
			if slices.Contains(r.Pipelines, p.Pipelines[at].Name) {
				g.pipelines = append(g.pipelines, at)
			}
		}
		key := fmt.Sprint(g.from, g.pipelines, g.bold)
		if at, there := index[key]; there && !alone {
			groups[at].rules = append(groups[at].rules, i)
			continue
		}
		index[key] = len(groups)
		groups = append(groups, g)
	}
	if all || len(groups) <= maxGroups {
		return groups
	}
	slices.SortStableFunc(groups, func(a, b ruleGroup) int { return cmp.Compare(len(b.rules), len(a.rules)) })
	rest := ruleGroup{}
	for _, g := range groups[maxGroups-1:] {
		rest.rules = append(rest.rules, g.rules...)
		rest.from, rest.pipelines, rest.bold = joined(rest.from, g.from), joined(rest.pipelines, g.pipelines), rest.bold || g.bold
	}
	return append(groups[:maxGroups-1], rest)
}

func joined(list, more []int) []int {
	list = append(list, more...)
	slices.Sort(list)
	return slices.Compact(list)
}

func (g *ruleGroup) node(p *plan.Plan) node {
	if len(g.rules) == 1 {
		r := &p.Rules[g.rules[0]]
		n := node{title: r.Name, lines: []string{r.Type}, bold: g.bold}
		if r.Match != nil {
			n.lines = append(n.lines, r.Match.String())
		}
		if r.Where != nil {
			n.lines = append(n.lines, r.Where.Source)
		}
		return n
	}
	var types []string
	for _, i := range g.rules {
		if t := p.Rules[i].Type; !slices.Contains(types, t) {
			types = append(types, t)
		}
	}
	lines := []string{strings.Join(types[:min(len(types), maxTypes)], ", ")}
	if more := len(types) - maxTypes; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more types", more))
	}
	return node{title: fmt.Sprintf("%d rules", len(g.rules)), lines: lines, bold: g.bold}
}

// eachLine calls f for each line between boxes, with the columns' letters and the indices.
func (g *graph) eachLine(f func(from string, i int, to string, j int)) {
	for i := range g.exchanges {
		for _, j := range g.exchanges[i].to {
			f("x", i, "r", j)
		}
	}
	for i := range g.rules {
		for _, j := range g.rules[i].to {
			f("r", i, "p", j)
		}
	}
}

// column is one of the three.
type column struct {
	letter, title string
	nodes         []node
}

func (g *graph) columns() []column {
	return []column{{"x", "exchanges", g.exchanges}, {"r", "rules", g.rules}, {"p", "pipelines", g.pipelines}}
}

// maxText is how much of a line of a box is shown, in characters.
const maxText = 40

func shortened(s string) string {
	runes := []rune(strings.Join(strings.Fields(s), " "))
	if len(runes) > maxText {
		runes = append(runes[:maxText-1], '…')
	}
	return string(runes)
}

// writeDOT draws for Graphviz.
func writeDOT(w io.Writer, g *graph) error {
	var b strings.Builder
	quote := func(s string) string {
		return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", " ").Replace(s)
	}
	fmt.Fprintf(&b, "digraph \"%s\" {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\", fontsize=11];\n", quote(g.name))
	for _, c := range g.columns() {
		fmt.Fprintf(&b, "  subgraph cluster_%s {\n    label=\"%s\"; color=gray80; fontname=\"sans-serif\";\n", c.letter, c.title)
		for i, n := range c.nodes {
			label := quote(shortened(n.title))
			for _, line := range n.lines {
				label += `\n` + quote(shortened(line))
			}
			bold := ""
			if n.bold {
				bold = ", penwidth=2.5"
			}
			fmt.Fprintf(&b, "    %s%d [label=\"%s\"%s];\n", c.letter, i, label, bold)
		}
		b.WriteString("  }\n")
	}
	g.eachLine(func(from string, i int, to string, j int) { fmt.Fprintf(&b, "  %s%d -> %s%d;\n", from, i, to, j) })
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// writeMermaid draws for Mermaid, which Markdown viewers show.
func writeMermaid(w io.Writer, g *graph) error {
	var b strings.Builder
	quote := strings.NewReplacer("&", "#amp;", `"`, "#quot;", "<", "#lt;", ">", "#gt;", "#", "#35;", "`", "#96;").Replace
	b.WriteString("flowchart LR\n")
	var bold []string
	for _, c := range g.columns() {
		fmt.Fprintf(&b, "  subgraph %s\n", c.title)
		for i, n := range c.nodes {
			id := fmt.Sprintf("%s%d", c.letter, i)
			label := quote(shortened(n.title))
			for _, line := range n.lines {
				label += "<br>" + quote(shortened(line))
			}
			fmt.Fprintf(&b, "    %s[\"%s\"]\n", id, label)
			if n.bold {
				bold = append(bold, id)
			}
		}
		b.WriteString("  end\n")
	}
	g.eachLine(func(from string, i int, to string, j int) { fmt.Fprintf(&b, "  %s%d --> %s%d\n", from, i, to, j) })
	if len(bold) > 0 {
		fmt.Fprintf(&b, "  classDef content stroke-width:3px\n  class %s content\n", strings.Join(bold, ","))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
