package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// Measures of the picture, in pixels.
const (
	svgMargin = 24
	svgLine   = 16 // of text
	svgPad    = 9  // in a box
	svgGap    = 12 // between boxes
	svgLane   = 130
	svgHead   = 40 // above the columns
	svgTitle  = 8.4
	svgSmall  = 6.3 // widths of a character of a title, and of a smaller line
)

// box is a node with its place.
type box struct {
	node
	x, y, w, h float64
}

// svgColours are the fill and the frame of each column.
var svgColours = [...][2]string{{"#e8f0fe", "#4a78c2"}, {"#fff7e0", "#b98a1d"}, {"#e6f4ea", "#3c8d5a"}}

// writeSVG draws with a layout of our own: columns whose boxes stand in the middle of the height of the tallest, and lines as curves.
func writeSVG(w io.Writer, g *graph) error {
	columns := g.columns()
	placed := make([][]box, len(columns))
	x, height := float64(svgMargin), 0.0
	for i, c := range columns {
		var width, tall float64
		for _, n := range c.nodes {
			b := box{node: n, h: svgPad*2 + svgLine*float64(1+len(n.lines))}
			b.w = svgPad*2 + svgTitle*float64(len([]rune(shortened(n.title))))
			for _, line := range n.lines {
				b.w = max(b.w, svgPad*2+svgSmall*float64(len([]rune(shortened(line)))))
			}
			width = max(width, b.w, 110)
			b.x, b.y = x, tall
			tall += b.h + svgGap
			placed[i] = append(placed[i], b)
		}
		for at := range placed[i] {
			placed[i][at].w = width
		}
		height = max(height, tall)
		x += width + svgLane
	}
	width := x - svgLane + svgMargin
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" font-family="Helvetica, Arial, sans-serif">`+"\n",
		width, height+svgHead+svgMargin, width, height+svgHead+svgMargin)
	fmt.Fprintf(&b, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", escaped(g.name))
	for i := range placed {
		centre(placed[i], height)
	}
	index := map[string]int{"x": 0, "r": 1, "p": 2}
	g.eachLine(func(from string, i int, to string, j int) {
		svgCurve(&b, &placed[index[from]][i], &placed[index[to]][j])
	})
	for i, boxes := range placed {
		if len(boxes) > 0 {
			fmt.Fprintf(&b, `<text x="%.0f" y="26" font-size="13" fill="#666">%s</text>`+"\n", boxes[0].x, columns[i].title)
		}
		for at := range boxes {
			svgBox(&b, &boxes[at], svgColours[i][0], svgColours[i][1])
		}
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// centre moves the boxes of a column to the middle; few boxes beside many spread over the height, so that the lines stay short.
func centre(boxes []box, height float64) {
	if len(boxes) == 0 {
		return
	}
	last := boxes[len(boxes)-1]
	spare := height - (last.y + last.h + svgGap)
	each := spare / float64(len(boxes)+1)
	for i := range boxes {
		boxes[i].y += svgHead + each*float64(i+1)
	}
}

func svgCurve(b *strings.Builder, from, to *box) {
	x1, y1, x2, y2 := from.x+from.w, from.y+from.h/2, to.x, to.y+to.h/2
	bend := (x2 - x1) / 2
	colour, width := "#b0b6be", 1.2
	if from.bold {
		colour, width = "#b98a1d", 1.8
	}
	fmt.Fprintf(b, `<path d="M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1f" fill="none" stroke="%s" stroke-width="%.1f" opacity="0.8"/>`+"\n",
		x1, y1, x1+bend, y1, x2-bend, y2, x2, y2, colour, width)
}

func svgBox(b *strings.Builder, at *box, fill, frame string) {
	width := 1.0
	if at.bold {
		width = 2.5
	}
	full := append([]string{at.title}, at.lines...)
	fmt.Fprintf(b, `<g><title>%s</title><rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" rx="6" fill="%s" stroke="%s" stroke-width="%.1f"/>`,
		escaped(strings.Join(full, "\n")), at.x, at.y, at.w, at.h, fill, frame, width)
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" font-size="13" font-weight="bold" fill="#222">%s</text>`, at.x+svgPad, at.y+svgPad+12, escaped(shortened(at.title)))
	for i, line := range at.lines {
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" font-size="11" fill="#555">%s</text>`, at.x+svgPad, at.y+svgPad+12+svgLine*float64(i+1), escaped(shortened(line)))
	}
	b.WriteString("</g>\n")
}

// escaped is a text as XML has it.
func escaped(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}
