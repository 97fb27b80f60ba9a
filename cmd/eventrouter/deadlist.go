package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/pipelines/dead"
)

func (k *kept) list() *cobra.Command {
	var f keptFlags
	var limit int
	cmd := k.command("list", "List "+k.noun+"s, from the oldest", "List "+k.noun+"s, from the oldest. They stay where they are.",
		"  NAME list\n  NAME list --type 'invoice.#' --newer 1h -o json", &f, nil)
	cmd.Flags().IntVar(&limit, "limit", 100, "how many at most; 0 is no limit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if limit < 0 {
			return usagef(cmd, "--limit %d is below 0", limit)
		}
		return k.session(cmd, &f, args, func(ctx context.Context, boxes []*dead.Box) error {
			total := 0
			for _, box := range boxes {
				n, err := box.Depth(ctx)
				if err != nil {
					return err
				}
				total += n
			}
			l := k.newListing(f.output.json())
			for _, box := range boxes {
				if limit > 0 && l.n >= limit {
					break
				}
				var failed error
				if err := box.Each(ctx, f.filter(), func(letter dead.Letter) bool {
					failed = l.add(shownOf(&letter))
					return failed == nil && (limit == 0 || l.n < limit)
				}); err != nil || failed != nil {
					return firstError(failed, err, l.flush())
				}
			}
			return l.end(total)
		})
	}
	return cmd
}

// pageRows is how many letters are printed together: all of a queue may be more than the memory holds.
const pageRows = 1000

// listing prints letters as they come, as the rows of a table or as an array in JSON.
type listing struct {
	k      *kept
	out    *bufio.Writer
	json   bool
	n      int // letters so far
	table  table.Writer
	widths []int // of the columns so far
}

func (k *kept) newListing(asJSON bool) *listing {
	return &listing{k: k, out: bufio.NewWriter(k.c.out), json: asJSON}
}

func (l *listing) add(s shownLetter) error {
	l.n++
	if l.json {
		return l.addJSON(s)
	}
	if l.table == nil {
		l.begin()
	}
	l.row(l.k.cells(s))
	if l.table.Length() == pageRows {
		return l.flush()
	}
	return nil
}

func (l *listing) addJSON(s shownLetter) error {
	lead := ",\n  "
	if l.n == 1 {
		lead = "[\n  "
	}
	l.out.WriteString(lead) // an error comes again with the next write
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("  ", "  ")
	if err := enc.Encode(s); err != nil {
		return err
	}
	_, err := l.out.Write(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	return err
}

// begin begins a page. The first has the header.
func (l *listing) begin() {
	header := []any{"ID", "TYPE", "PIPELINE", "ATTEMPTS", "LAST FAILURE", "REASON"}
	if l.k.name == "unrouted" {
		header = []any{"ID", "TYPE", "EXCHANGE", "REASON"}
	}
	if l.widths == nil {
		for _, title := range header {
			l.widths = append(l.widths, len(title.(string)))
		}
		l.table = newTable(header...)
		return
	}
	l.table = newTable()
}

func (l *listing) row(cells []any) {
	for i, cell := range cells {
		l.widths[i] = max(l.widths[i], text.StringWidthWithoutEscSequences(fmt.Sprint(cell)))
	}
	l.table.AppendRow(cells)
}

// cells are the columns of a letter.
func (k *kept) cells(s shownLetter) table.Row {
	reason, _, _ := strings.Cut(s.Reason, "\n")
	if r := []rune(reason); len(r) > 100 {
		reason = string(r[:100]) + "…"
	}
	id, kind, reason := printable(s.ID, ""), printable(s.Type, ""), printable(reason, "")
	if k.name == "unrouted" {
		return table.Row{id, kind, printable(s.Exchange, ""), reason}
	}
	when := ""
	if s.LastFailure != nil {
		when = s.LastFailure.Local().Format(time.DateTime)
	}
	return table.Row{id, kind, s.Pipeline, s.Attempts, when, reason}
}

// flush prints the page. Its columns are as wide as those of the pages before, so that the table is one as long as nothing wider comes.
func (l *listing) flush() error {
	if l.table != nil {
		var columns []table.ColumnConfig
		for i, width := range l.widths[:len(l.widths)-1] {
			columns = append(columns, table.ColumnConfig{Number: i + 1, WidthMin: width})
		}
		l.table.SetColumnConfigs(columns)
		l.out.WriteString(l.table.Render() + "\n") // an error comes again with Flush
		l.table = nil
	}
	return l.out.Flush()
}

// end prints what is left, and how many there are in all.
func (l *listing) end(total int) error {
	switch {
	case l.json && l.n == 0:
		l.out.WriteString("[]\n")
	case l.json:
		l.out.WriteString("\n]\n")
	case l.n == 0 && total > 0:
		fmt.Fprintf(l.out, "none of %s is picked\n", count(total, l.k.noun))
	case l.n == 0:
		fmt.Fprintf(l.out, "no %ss\n", l.k.noun)
	}
	if err := l.flush(); err != nil {
		return err
	}
	if !l.json && l.n > 0 && total > l.n {
		fmt.Fprintf(l.out, "%d of %s\n", l.n, count(total, l.k.noun))
	}
	return l.out.Flush()
}
