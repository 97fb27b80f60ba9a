package event

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
)

// MaxLine bounds a line of NDJSON, in bytes.
const MaxLine = 32 << 20

// Reader reads events as NDJSON, one JSON object a line. Blank lines are passed over. One goroutine may use it.
type Reader struct {
	scanner *bufio.Scanner
	line    int
}

// NewReader reads from r.
func NewReader(r io.Reader) *Reader {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), MaxLine)
	return &Reader{scanner: s}
}

// LineError is a line that is no event. Reading can go on after it.
type LineError struct {
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// Line is the number of the line read last, from 1.
func (r *Reader) Line() int { return r.line }

// Next reads the next event into e; io.EOF is the end. A *LineError concerns one line only.
func (r *Reader) Next(e *Event) error {
	for r.scanner.Scan() {
		r.line++
		text := bytes.TrimSpace(r.scanner.Bytes())
		if r.line == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if len(text) == 0 {
			continue
		}
		if err := e.UnmarshalJSON(text); err != nil {
			return &LineError{r.line, err}
		}
		return nil
	}
	if err := r.scanner.Err(); err != nil {
		return fmt.Errorf("line %d: %w", r.line+1, err)
	}
	return io.EOF
}
