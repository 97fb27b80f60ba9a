package conformance

import (
	"slices"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

func routing(t *testing.T, s *probe.Session) {
	for _, c := range []struct {
		name, kind string
		bindings   []string
		yes, no    []string
	}{
		{"direct", "direct", []string{"a", "b.c", ""}, []string{"a", "b.c", ""}, []string{"A", "b", "#"}},
		{"fanout", "fanout", []string{"a"}, []string{"a", "", "b"}, nil},
		{"topic star", "topic", []string{"a.*.b"}, []string{"a.x.b", "a..b"}, []string{"a.b", "a.x.y.b", "A.x.b"}},
		{"topic hash", "topic", []string{"a.#"}, []string{"a", "a.", "a.b.c"}, []string{"", "b", "ab"}},
		{"topic all", "topic", []string{"#"}, []string{"", ".", "a.b"}, nil},
		{"topic one word", "topic", []string{"*"}, []string{"a", "*"}, []string{"", "a.b"}},
		{"topic literal", "topic", []string{"a*"}, []string{"a*"}, []string{"ab", "a"}},
	} {
		each(t, s, c.name, func(t *testing.T, s *probe.Session) {
			x, q := s.Exchange(c.kind, nil), s.Queue(nil)
			for _, key := range c.bindings {
				s.Bind(q, key, x, nil)
			}
			for _, key := range slices.Concat(c.yes, c.no) {
				s.Publish(x, key, amqp091.Publishing{Body: []byte(key)})
			}
			probe.Equal(t, "keys that came", s.Texts(q), c.yes)
		})
	}
}

func headersExchange(t *testing.T, s *probe.Session) {
	type table = amqp091.Table
	for _, c := range []struct {
		name    string
		binding table
		yes, no []table
	}{
		{"all", table{"x-match": "all", "a": "1", "b": int32(2)}, []table{{"a": "1", "b": int32(2)}, {"a": "1", "b": int64(2), "c": "x"}}, []table{{"a": "1"}, {"b": int32(2)}, {}}},
		{"all by default", table{"a": "1"}, []table{{"a": "1"}}, []table{{"a": "2"}, {}}},
		{"any", table{"x-match": "any", "a": "1", "b": "2"}, []table{{"a": "1"}, {"a": "9", "b": "2"}}, []table{{"a": "2"}, {}}},
		{"without x-", table{"x-match": "all", "x-a": "1", "a": "1"}, []table{{"a": "1"}}, []table{{"x-a": "1"}}},
		{"all-with-x", table{"x-match": "all-with-x", "x-a": "1"}, []table{{"x-a": "1"}}, []table{{"x-a": "2"}, {}}},
		{"any-with-x", table{"x-match": "any-with-x", "x-a": "1", "b": "1"}, []table{{"x-a": "1"}, {"b": "1"}}, []table{{"x-a": "2"}, {}}},
		{"nothing asked", table{"x-match": "all"}, []table{{}, {"a": "1"}}, nil},
		{"nothing asked of any", table{"x-match": "any"}, nil, []table{{}, {"a": "1"}}},
		{"only there", table{"a": nil}, []table{{"a": "1"}, {"a": int32(1)}}, []table{{}}},
		{"numbers are no texts", table{"a": "1"}, nil, []table{{"a": int32(1)}, {"a": true}}},
	} {
		each(t, s, c.name, func(t *testing.T, s *probe.Session) {
			x, q := s.Exchange("headers", nil), s.Queue(nil)
			s.Bind(q, "", x, c.binding)
			for _, h := range c.yes {
				s.Publish(x, "", amqp091.Publishing{Headers: h, Body: []byte("yes")})
			}
			for _, h := range c.no {
				s.Publish(x, "", amqp091.Publishing{Headers: h, Body: []byte("no")})
			}
			probe.Equal(t, "came", s.Texts(q), slices.Repeat([]string{"yes"}, len(c.yes)))
		})
	}
}

func predeclaredExchanges(t *testing.T, s *probe.Session) {
	for name, kind := range map[string]string{
		"amq.direct": "direct", "amq.fanout": "fanout", "amq.topic": "topic", "amq.headers": "headers", "amq.match": "headers",
	} {
		if err := s.Ch.ExchangeDeclare(name, kind, true, false, false, false, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func defaultExchangeRoutesByQueueName(t *testing.T, s *probe.Session) {
	q := s.Queue(nil)
	s.Send(q, "a")
	d := s.Take(q)
	probe.Equal(t, "exchange and key", []string{d.Exchange, d.RoutingKey}, []string{"", q})
}

func severalBindingsGiveOneCopy(t *testing.T, s *probe.Session) {
	x, q := s.Exchange("topic", nil), s.Queue(nil)
	for _, key := range []string{"a", "*", "#", "a"} {
		s.Bind(q, key, x, nil)
	}
	s.Publish(x, "a", amqp091.Publishing{})
	probe.Equal(t, "copies", len(s.Texts(q)), 1)
}

func exchangesBoundToExchanges(t *testing.T, s *probe.Session) {
	from, to, q := s.Exchange("topic", nil), s.Exchange("topic", nil), s.Queue(nil)
	s.Bind(q, "a.b", to, nil)
	for _, pair := range [][2]string{{to, from}, {from, to}} { // a ring is walked once
		if err := s.Ch.ExchangeBind(pair[0], "a.#", pair[1], false, nil); err != nil {
			t.Fatal(err)
		}
	}
	s.Publish(from, "a.b", amqp091.Publishing{Body: []byte("1")})
	s.Publish(from, "b", amqp091.Publishing{Body: []byte("2")})
	s.Publish(from, "a.c", amqp091.Publishing{Body: []byte("3")})
	probe.Equal(t, "came", s.Texts(q), []string{"1"})
	if err := s.Ch.ExchangeUnbind(to, "a.#", from, false, nil); err != nil {
		t.Fatal(err)
	}
	s.Publish(from, "a.b", amqp091.Publishing{})
	probe.Equal(t, "came after unbinding", len(s.Texts(q)), 0)
}

func alternateExchange(t *testing.T, s *probe.Session) {
	last, lost := s.Exchange("fanout", nil), s.Queue(nil)
	s.Bind(lost, "", last, nil)
	middle := s.Exchange("direct", amqp091.Table{"alternate-exchange": last})
	x, q := s.Exchange("direct", amqp091.Table{"alternate-exchange": middle}), s.Queue(nil)
	s.Bind(q, "a", x, nil)
	s.Publish(x, "a", amqp091.Publishing{Body: []byte("a")})
	s.Publish(x, "b", amqp091.Publishing{Body: []byte("b")})
	probe.Equal(t, "routed", s.Texts(q), []string{"a"})
	probe.Equal(t, "unrouted", s.Texts(lost), []string{"b"})
}

func unbinding(t *testing.T, s *probe.Session) {
	for _, kind := range []string{"direct", "topic", "fanout", "headers"} {
		x, q := s.Exchange(kind, nil), s.Queue(nil)
		args := amqp091.Table{"n": int32(1)}
		s.Bind(q, "k", x, args)
		s.Bind(q, "k", x, nil)
		for _, a := range []amqp091.Table{nil, args} {
			s.Publish(x, "k", amqp091.Publishing{Headers: args})
			probe.Equal(t, kind+": came", len(s.Texts(q)), 1)
			if err := s.Ch.QueueUnbind(q, "k", x, a); err != nil {
				t.Fatal(err)
			}
		}
		s.Publish(x, "k", amqp091.Publishing{Headers: args})
		probe.Equal(t, kind+": came after unbinding", len(s.Texts(q)), 0)
	}
}

func ccAndBCC(t *testing.T, s *probe.Session) {
	a, b, c := s.Queue(nil), s.Queue(nil), s.Queue(nil)
	s.Publish("", a, amqp091.Publishing{Headers: amqp091.Table{"CC": []any{b, a}, "BCC": []any{c}, "kept": "x"}})
	for _, q := range []string{a, b, c} {
		d := s.Take(q)
		_, hasBCC := d.Headers["BCC"]
		probe.Equal(t, "BCC is there", hasBCC, false)
		probe.Equal(t, "other headers", []any{d.Headers["CC"], d.Headers["kept"], d.RoutingKey}, []any{[]any{b, a}, "x", a})
		probe.Equal(t, "copies left", s.Depth(q), 0)
	}
}

func ccPassesOverWhatIsNoKey(t *testing.T, s *probe.Session) {
	for _, header := range []string{"CC", "BCC"} {
		a, b := s.Queue(nil), s.Queue(nil)
		s.Publish("", a, amqp091.Publishing{Headers: amqp091.Table{header: []any{int32(1), b, nil}}})
		probe.Equal(t, header+": copies", []int{s.Depth(a), s.Depth(b)}, []int{1, 1})
	}
}

func autoDeleteExchange(t *testing.T, s *probe.Session) {
	x, q := s.Name(), s.Queue(nil)
	if err := s.Ch.ExchangeDeclare(x, "fanout", false, true, false, false, nil); err != nil {
		t.Fatal(err)
	}
	s.Bind(q, "", x, nil)
	if err := s.Ch.QueueUnbind(q, "", x, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Channel().ExchangeDeclarePassive(x, "fanout", false, true, false, false, nil); err == nil {
		t.Error("it is still there without bindings")
	}
}

func deletedQueueTakesItsBindingsAlong(t *testing.T, s *probe.Session) {
	x, q := s.Exchange("topic", nil), s.Queue(nil)
	s.Bind(q, "#", x, nil)
	if _, err := s.Ch.QueueDelete(q, false, false, false); err != nil {
		t.Fatal(err)
	}
	s.Declare(q, nil)
	s.Publish(x, "a", amqp091.Publishing{})
	probe.Equal(t, "came", len(s.Texts(q)), 0)
	if err := s.Ch.ExchangeDelete(x, true, false); err != nil {
		t.Errorf("the exchange counts as used: %v", err)
	}
}

func floatsAreNoIntegers(t *testing.T, s *probe.Session) {
	x, q := s.Exchange("headers", nil), s.Queue(nil)
	s.Bind(q, "", x, amqp091.Table{"a": int32(1)})
	s.Publish(x, "", amqp091.Publishing{Headers: amqp091.Table{"a": float64(1)}})
	probe.Equal(t, "came", len(s.Texts(q)), 0)
}
