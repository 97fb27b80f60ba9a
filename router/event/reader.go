package event

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// MaxLine bounds a line of NDJSON, in bytes.
const MaxLine = 32 << 20

// Lines reads NDJSON, one JSON document a line, whatever the documents are. Blank lines are passed over, and so is a byte order mark. One goroutine
// may use it.
type Lines struct {
	scanner *bufio.Scanner
	number  int
}

// NewLines reads from r.
func NewLines(r io.Reader) *Lines {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), MaxLine)
	return &Lines{scanner: s}
}

// Line is the number of the line read last, from 1.
func (l *Lines) Line() int { return l.number }

// Next is the next line that is not blank, without the space around it; it holds until the next call. io.EOF is the end, and after any other error,
// which names the line, nothing more can be read.
func (l *Lines) Next() ([]byte, error) {
	for l.scanner.Scan() {
		l.number++
		text := l.scanner.Bytes()
		if l.number == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			return text, nil
		}
	}
	switch err := l.scanner.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d is longer than %d MiB, which is the most", l.number+1, MaxLine>>20)
	case err != nil:
		return nil, fmt.Errorf("line %d: %w", l.number+1, err)
	}
	return nil, io.EOF
}

// Reader reads events as NDJSON. One goroutine may use it.
type Reader struct{ lines *Lines }

// NewReader reads from r.
func NewReader(r io.Reader) *Reader { return &Reader{NewLines(r)} }

// LineError is a line that is no event. Reading can go on after it.
type LineError struct {
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// Line is the number of the line read last, from 1.
func (r *Reader) Line() int { return r.lines.Line() }

// Next reads the next event into e; io.EOF is the end. A *LineError concerns one line only.
func (r *Reader) Next(e *Event) error {
	text, err := r.lines.Next()
	if err != nil {
		return err
	}
	if err := e.UnmarshalJSON(text); err != nil {
		return &LineError{r.Line(), err}
	}
	return nil
}
