package rules

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/rules/topic"
)

// small makes patterns and events of few names and values, so that they meet often.
type small struct{ *rand.Rand }

func pick[T any](s small, of ...T) T { return of[s.IntN(len(of))] }

func (s small) text() string {
	return pick(s, "a", "b", "ab", "abc", "A", "order.a", "10.0.0.1", "2001:db8::1", "5", "2026-01-31T12:00:00Z")
}

func (s small) scalar() any {
	return pick[any](s, s.text(), s.text(), 1, 5, 5.0, 7.5, -1, true, nil)
}

func (s small) condition() any {
	numbers := func() []any {
		return pick(s, []any{">", s.IntN(8)}, []any{"<=", s.IntN(8)}, []any{"=", 5}, []any{">=", s.IntN(4), "<", 4 + s.IntN(4)})
	}
	switch s.IntN(12) {
	case 0:
		return map[string]any{"prefix": s.text()}
	case 1:
		return map[string]any{"suffix": s.text()}
	case 2:
		return map[string]any{"wildcard": pick(s, "*", "a*", "*b", "a*c", "ab")}
	case 3:
		return map[string]any{"equals-ignore-case": s.text()}
	case 4, 5:
		return map[string]any{"numeric": numbers()}
	case 6:
		return map[string]any{"exists": pick(s, true, false)}
	case 7:
		return map[string]any{"anything-but": pick[any](s, "a", []string{"a", "b"}, 5, []int{1, 5}, map[string]any{"prefix": pick(s, "a", "ab")}, map[string]any{"suffix": []string{"b", "c"}}, map[string]any{"equals-ignore-case": "A"})}
	case 8:
		return map[string]any{"cidr": pick(s, "10.0.0.0/8", "10.0.0.0/30", "2001:db8::/32")}
	}
	return s.scalar()
}

func (s small) conditions() []any {
	list := []any{s.condition()}
	for s.IntN(3) == 0 {
		list = append(list, s.condition())
	}
	return list
}

func (s small) object(depth int) map[string]any {
	out := map[string]any{}
	for range 1 + s.IntN(2) {
		name := pick(s, "x", "y", "z")
		if depth > 0 && s.IntN(3) == 0 {
			out[name] = s.object(depth - 1)
		} else {
			out[name] = s.conditions()
		}
	}
	return out
}

func (s small) pattern(depth int) map[string]any {
	out := map[string]any{}
	for range 1 + s.IntN(2) {
		switch s.IntN(10) {
		case 0, 1:
			out[pick(s, "type", "source", "time")] = s.conditions()
		case 2:
			out[pick(s, "data", "headers", "tenant")] = s.conditions()
		case 3:
			out[pick(s, "headers", "source")] = s.object(0)
		default:
			out["data"] = s.object(1)
		}
	}
	if depth > 0 {
		switch s.IntN(5) {
		case 0, 1:
			out["$and"] = []any{s.pattern(depth - 1), s.pattern(depth - 1)}
		case 2:
			out["$or"] = []any{s.pattern(depth - 1), s.pattern(depth - 1)}
		case 3:
			out["$not"] = s.pattern(depth - 1)
		}
	}
	return out
}

func (s small) value(depth int, lists bool) any {
	switch n := s.IntN(6); {
	case depth > 0 && n == 0 && lists:
		list := []any{}
		for range s.IntN(4) {
			list = append(list, s.value(depth-1, lists))
		}
		return list
	case depth > 0 && n < 3:
		out := map[string]any{}
		for range s.IntN(4) {
			out[pick(s, "x", "y", "z")] = s.value(depth-1, lists)
		}
		return out
	}
	return s.scalar()
}

// event is an event's document: what CloudEvents has as strings are strings.
func (s small) event(lists bool) map[string]any {
	doc := map[string]any{"type": pick(s, "a", "b", "ab", "abc", "order.a", "order.b.c")}
	if s.IntN(2) == 0 {
		doc["source"] = s.text()
	}
	if s.IntN(2) == 0 {
		doc["time"] = pick(s, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5Z")
	}
	if s.IntN(2) == 0 {
		doc["tenant"] = s.text()
	}
	if s.IntN(3) == 0 {
		doc["headers"] = map[string]any{pick(s, "x", "y"): s.value(1, lists)}
	}
	if s.IntN(8) > 0 {
		doc["data"] = s.value(3, lists)
	}
	return doc
}

// parse reads what was made.
func (s small) parse(t *testing.T, made map[string]any) (*Pattern, string) {
	t.Helper()
	text, err := json.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParsePattern(text)
	if err != nil && !strings.Contains(err.Error(), "no number is in this range") {
		t.Fatalf("%s: %v", text, err)
	}
	return p, string(text)
}

// numbered has the numbers of a document as json.Number.
func numbered(t *testing.T, doc map[string]any) (out map[string]any, text string) {
	t.Helper()
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if err := d.Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out, string(raw)
}

func TestWhatIsSaidToBeImpossibleIs(t *testing.T) {
	t.Parallel()
	s := small{rand.New(rand.NewPCG(1, 2))}
	never, onlyLists := 0, 0
	for range 1000 {
		p, text := s.parse(t, s.pattern(2))
		typePattern := pick(s, "#", "#", "order.*", "*")
		c := p.contradiction(typePattern)
		if p == nil || c == nil {
			continue
		}
		if c.onlyList == "" {
			never++
		} else {
			onlyLists++
		}
		for range 40 {
			doc, event := numbered(t, s.event(c.onlyList == ""))
			if topic.Match(typePattern, doc["type"].(string)) && p.Matches(doc) {
				t.Fatalf("%s is said to be impossible for type %s (%+v), and holds for %s", text, typePattern, c, event)
			}
		}
	}
	if never < 100 || onlyLists < 5 {
		t.Errorf("only %d patterns that never hold and %d for lists were found: does the test show anything?", never, onlyLists)
	}
}

func TestWhatIsSaidToFollowDoes(t *testing.T) {
	t.Parallel()
	s := small{rand.New(rand.NewPCG(3, 4))}
	follows, held := 0, 0
	for range 1200 {
		stronger := s.pattern(1)
		a, strong := s.parse(t, stronger)
		made := s.pattern(1)
		if s.IntN(2) == 0 {
			made = map[string]any{"$or": []any{stronger, made}}
		} else if s.IntN(2) == 0 {
			made, stronger = stronger, map[string]any{"$and": []any{stronger, made}}
			a, strong = s.parse(t, stronger)
		}
		b, weak := s.parse(t, made)
		if a == nil || b == nil || !newProof().implies(a, b) {
			continue
		}
		follows++
		for range 20 {
			doc, event := numbered(t, s.event(true))
			if !a.Matches(doc) {
				continue
			}
			held++
			if !b.Matches(doc) {
				t.Fatalf("%s is said to follow from %s, and does not hold for %s", weak, strong, event)
			}
		}
	}
	if follows < 120 || held < 120 {
		t.Errorf("%d patterns followed from others, %d events fulfilled those: does the test show anything?", follows, held)
	}
}

func TestConditionsThatFollowOrExclude(t *testing.T) {
	t.Parallel()
	s := small{rand.New(rand.NewPCG(5, 6))}
	implied, excluded := 0, 0
	for range 3000 {
		p, text := s.parse(t, map[string]any{"x": []any{s.condition()}, "y": []any{s.condition()}})
		if p == nil {
			continue
		}
		a, b := &p.Alternatives[0].Fields[0].Conditions[0], &p.Alternatives[0].Fields[1].Conditions[0]
		implies, excludes := a.implies(b), a.excludes(b)
		if implies {
			implied++
		}
		if excludes {
			excluded++
		}
		for range 20 {
			value, _ := numbered(t, map[string]any{"v": s.scalar()})
			if v := value["v"]; a.holds(v) && (implies && !b.holds(v) || excludes && b.holds(v)) {
				t.Fatalf("%s: implies %v, excludes %v, but %v", text, implies, excludes, v)
			}
		}
	}
	if implied < 60 || excluded < 300 {
		t.Errorf("implied %d, excluded %d: does the test show anything?", implied, excluded)
	}
}

func TestPatternsThatCanHold(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`{"data":{"x":[{"exists":false}]},"$and":[{"data":{"x":[{"exists":false}]}},{"data":{"y":[1]}}]}`,
		`{"$and":[{"data":{"x":[{"numeric":["<=",5]}]}},{"data":{"x":[{"numeric":[">=",5]}]}}]}`,
		`{"$and":[{"source":[{"prefix":"a"}]},{"source":[{"suffix":"b"}]},{"source":[{"anything-but":"ab"}]}]}`,
		`{"$or":[{"type":[5]},{"type":["a"]}]}`,
		`{"source":["a"],"$not":{"source":["a"],"subject":["b"]}}`,
		`{"time":["2026-01-31T12:00:00.5+01:00",{"prefix":"2027"}]}`,
		`{"source":{"x":[{"exists":false}]}}`,
	} {
		p, err := ParsePattern([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if c := p.contradiction("#"); c != nil {
			t.Errorf("%s: %+v", text, c)
		}
	}
}
