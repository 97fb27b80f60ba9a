// Package jsonscan checks JSON text where it lies, without decoding it and without allocating. What it accepts is exactly what
// encoding/json accepts, depth included; that the text is UTF-8 is left to the caller, who has to check it once for the whole text.
//
// Its functions keep no state, and are safe for concurrent use. Their positions are bytes from the beginning of the text;
// a result of false means that the text is not JSON, and the position beside it means nothing then.
package jsonscan

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may nest, as encoding/json has it.
const MaxDepth = 10000

// Space is the first place from i on that is no white space.
func Space(text []byte, i int) int {
	for i < len(text) && text[i] <= ' ' && (text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t') {
		i++
	}
	return i
}

// End reports whether nothing but white space is left from i on.
func End(text []byte, i int) bool { return Space(text, i) == len(text) }

// Value finds the end of the value that begins at i, after white space. depth is the number of arrays and objects
// around it.
func Value(text []byte, i, depth int) (int, bool) {
	// The kinds of the open arrays (0) and objects (1), innermost last. What nests deeper than a word has bits is left to
	// another call, so that the depth of calls is small.
	var open uint64
	levels := 0
	ok := true
	for {
		// A value begins here.
		if i = Space(text, i); i >= len(text) {
			return i, false
		}
		switch c := text[i]; c {
		case '{', '[':
			if depth+levels >= MaxDepth {
				return i, false
			}
			if levels == 64 {
				if i, ok = Value(text, i, depth+levels); !ok {
					return i, false
				}
				break
			}
			if i = Space(text, i+1); i >= len(text) {
				return i, false
			}
			if text[i] == c+2 { // } and ] are two further than { and [
				i++
				break
			}
			levels++
			open <<= 1
			if c == '[' {
				continue
			}
			open |= 1
			if i, ok = Key(text, i); !ok {
				return i, false
			}
			continue
		default:
			if i, ok = Scalar(text, i); !ok {
				return i, false
			}
		}
		// A value has ended here.
		for {
			if levels == 0 {
				return i, true
			}
			if i = Space(text, i); i >= len(text) {
				return i, false
			}
			if text[i] == ',' {
				break
			}
			if object := open&1 == 1; object && text[i] != '}' || !object && text[i] != ']' {
				return i, false
			}
			i++
			levels--
			open >>= 1
		}
		i++
		if open&1 == 1 {
			if i, ok = Key(text, Space(text, i)); !ok {
				return i, false
			}
		}
	}
}

// Key passes over an object's key that begins at i, and the colon after it.
func Key(text []byte, i int) (int, bool) {
	if i >= len(text) || text[i] != '"' {
		return i, false
	}
	i, _, ok := String(text, i)
	if !ok {
		return i, false
	}
	i = Space(text, i)
	return i + 1, i < len(text) && text[i] == ':'
}

// Scalar finds the end of the string, number or literal that begins at i, where there has to be a byte.
func Scalar(text []byte, i int) (int, bool) {
	switch text[i] {
	case '"':
		end, _, ok := String(text, i)
		return end, ok
	case 't':
		return literal(text, i, "true")
	case 'f':
		return literal(text, i, "false")
	case 'n':
		return literal(text, i, "null")
	}
	return Number(text, i)
}

func literal(text []byte, i int, word string) (int, bool) {
	end := i + len(word)
	return end, end <= len(text) && string(text[i:end]) == word
}

// Number finds the end of the number that begins at i.
func Number(text []byte, i int) (int, bool) {
	if i < len(text) && text[i] == '-' {
		i++
	}
	switch {
	case i >= len(text):
		return i, false
	case text[i] == '0':
		i++
	case '1' <= text[i] && text[i] <= '9':
		i = digits(text, i)
	default:
		return i, false
	}
	if i < len(text) && text[i] == '.' {
		begin := i + 1
		if i = digits(text, begin); i == begin {
			return i, false
		}
	}
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		begin := i + 1
		if begin < len(text) && (text[begin] == '+' || text[begin] == '-') {
			begin++
		}
		if i = digits(text, begin); i == begin {
			return i, false
		}
	}
	return i, true
}

func digits(text []byte, i int) int {
	for i < len(text) && '0' <= text[i] && text[i] <= '9' {
		i++
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks with its high bit the first byte of eight that is a quote, a backslash or a control character. Bytes after the first
// may be marked wrongly, since a subtraction borrows from them.
func special(w uint64) uint64 {
	quote, backslash := w^ones*'"', w^ones*'\\'
	return ((quote-ones)&^quote | (backslash-ones)&^backslash | (w-ones*' ')&^w) & highs
}

// String finds the end of the string whose opening quote is at i, the closing quote included, and whether there are escapes in it.
func String(text []byte, i int) (end int, escaped, ok bool) {
	i++
	for {
		for i+8 <= len(text) {
			if m := special(binary.LittleEndian.Uint64(text[i:])); m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		for i < len(text) && text[i] != '"' && text[i] != '\\' && text[i] >= ' ' {
			i++
		}
		switch {
		case i >= len(text) || text[i] < ' ':
			return i, escaped, false
		case text[i] == '"':
			return i + 1, escaped, true
		}
		escaped = true
		if i = escape(text, i); i < 0 {
			return i, escaped, false
		}
	}
}

// escape passes over the escape whose backslash is at i; it is negative if there is none.
func escape(text []byte, i int) int {
	if i+1 >= len(text) {
		return -1
	}
	switch text[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2
	case 'u':
		if hex(text[i+2:]) >= 0 {
			return i + 6
		}
	}
	return -1
}

// hex reads four hexadecimal digits; it is negative if they are not there.
func hex(text []byte) rune {
	if len(text) < 4 {
		return -1
	}
	var r rune
	for _, c := range text[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

// AppendString appends what a string means that [String] has accepted, given without its quotes. As with encoding/json, half
// of a surrogate pair becomes U+FFFD.
func AppendString(to, inside []byte) []byte {
	for i := 0; i < len(inside); {
		if inside[i] != '\\' {
			begin := i
			for i < len(inside) && inside[i] != '\\' {
				i++
			}
			to = append(to, inside[begin:i]...)
			continue
		}
		c := inside[i+1]
		i += 2
		switch c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r := hex(inside[i:])
			i += 4
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if i+1 < len(inside) && inside[i] == '\\' && inside[i+1] == 'u' {
					low = hex(inside[i+2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					i += 6
				}
			}
			to = utf8.AppendRune(to, r)
			continue
		}
		to = append(to, c)
	}
	return to
}
