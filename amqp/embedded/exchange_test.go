package embedded_test

import (
	"slices"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

func TestRouting(t *testing.T) {
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
		t.Run(c.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, s *session) {
				x, q := s.exchange(c.kind, nil), s.queue(nil)
				for _, key := range c.bindings {
					s.bind(q, key, x, nil)
				}
				for _, key := range slices.Concat(c.yes, c.no) {
					s.publish(x, key, amqp091.Publishing{Body: []byte(key)})
				}
				equal(t, "keys that came", s.texts(q), c.yes)
			})
		})
	}
}

func TestHeadersExchange(t *testing.T) {
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
		{"floats are no integers", table{"a": int32(1)}, nil, []table{{"a": float64(1)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, s *session) {
				x, q := s.exchange("headers", nil), s.queue(nil)
				s.bind(q, "", x, c.binding)
				for _, h := range c.yes {
					s.publish(x, "", amqp091.Publishing{Headers: h, Body: []byte("yes")})
				}
				for _, h := range c.no {
					s.publish(x, "", amqp091.Publishing{Headers: h, Body: []byte("no")})
				}
				equal(t, "came", s.texts(q), slices.Repeat([]string{"yes"}, len(c.yes)))
			})
		})
	}
}

func TestPredeclaredExchanges(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		for name, kind := range map[string]string{
			"amq.direct": "direct", "amq.fanout": "fanout", "amq.topic": "topic", "amq.headers": "headers", "amq.match": "headers",
		} {
			if err := s.ch.ExchangeDeclare(name, kind, true, false, false, false, nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestDefaultExchangeRoutesByQueueName(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(nil)
		s.send(q, "a")
		d := s.take(q)
		equal(t, "exchange and key", []string{d.Exchange, d.RoutingKey}, []string{"", q})
	})
}

func TestSeveralBindingsGiveOneCopy(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		x, q := s.exchange("topic", nil), s.queue(nil)
		for _, key := range []string{"a", "*", "#", "a"} {
			s.bind(q, key, x, nil)
		}
		s.publish(x, "a", amqp091.Publishing{})
		equal(t, "copies", len(s.texts(q)), 1)
	})
}

func TestExchangesBoundToExchanges(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		from, to, q := s.exchange("topic", nil), s.exchange("topic", nil), s.queue(nil)
		s.bind(q, "a.b", to, nil)
		for _, pair := range [][2]string{{to, from}, {from, to}} { // a ring is walked once
			if err := s.ch.ExchangeBind(pair[0], "a.#", pair[1], false, nil); err != nil {
				t.Fatal(err)
			}
		}
		s.publish(from, "a.b", amqp091.Publishing{Body: []byte("1")})
		s.publish(from, "b", amqp091.Publishing{Body: []byte("2")})
		s.publish(from, "a.c", amqp091.Publishing{Body: []byte("3")})
		equal(t, "came", s.texts(q), []string{"1"})
		if err := s.ch.ExchangeUnbind(to, "a.#", from, false, nil); err != nil {
			t.Fatal(err)
		}
		s.publish(from, "a.b", amqp091.Publishing{})
		equal(t, "came after unbinding", len(s.texts(q)), 0)
	})
}

func TestAlternateExchange(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		last, lost := s.exchange("fanout", nil), s.queue(nil)
		s.bind(lost, "", last, nil)
		middle := s.exchange("direct", amqp091.Table{"alternate-exchange": last})
		x, q := s.exchange("direct", amqp091.Table{"alternate-exchange": middle}), s.queue(nil)
		s.bind(q, "a", x, nil)
		s.publish(x, "a", amqp091.Publishing{Body: []byte("a")})
		s.publish(x, "b", amqp091.Publishing{Body: []byte("b")})
		equal(t, "routed", s.texts(q), []string{"a"})
		equal(t, "unrouted", s.texts(lost), []string{"b"})
	})
}

func TestUnbinding(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		for _, kind := range []string{"direct", "topic", "fanout", "headers"} {
			x, q := s.exchange(kind, nil), s.queue(nil)
			args := amqp091.Table{"n": int32(1)}
			s.bind(q, "k", x, args)
			s.bind(q, "k", x, nil)
			for _, a := range []amqp091.Table{nil, args} {
				s.publish(x, "k", amqp091.Publishing{Headers: args})
				equal(t, kind+": came", len(s.texts(q)), 1)
				if err := s.ch.QueueUnbind(q, "k", x, a); err != nil {
					t.Fatal(err)
				}
			}
			s.publish(x, "k", amqp091.Publishing{Headers: args})
			equal(t, kind+": came after unbinding", len(s.texts(q)), 0)
		}
	})
}

func TestCCAndBCC(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		a, b, c := s.queue(nil), s.queue(nil), s.queue(nil)
		s.publish("", a, amqp091.Publishing{Headers: amqp091.Table{"CC": []any{b, a}, "BCC": []any{c}, "kept": "x"}})
		for _, q := range []string{a, b, c} {
			d := s.take(q)
			_, hasBCC := d.Headers["BCC"]
			equal(t, "BCC is there", hasBCC, false)
			equal(t, "other headers", []any{d.Headers["CC"], d.Headers["kept"], d.RoutingKey}, []any{[]any{b, a}, "x", a})
			equal(t, "copies left", s.depth(q), 0)
		}
	})
}

func TestCCPassesOverWhatIsNoKey(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		for _, header := range []string{"CC", "BCC"} {
			a, b := s.queue(nil), s.queue(nil)
			s.publish("", a, amqp091.Publishing{Headers: amqp091.Table{header: []any{int32(1), b, nil}}})
			equal(t, header+": copies", []int{s.depth(a), s.depth(b)}, []int{1, 1})
		}
	})
}

func TestAutoDeleteExchange(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		x, q := s.name(), s.queue(nil)
		if err := s.ch.ExchangeDeclare(x, "fanout", false, true, false, false, nil); err != nil {
			t.Fatal(err)
		}
		s.bind(q, "", x, nil)
		if err := s.ch.QueueUnbind(q, "", x, nil); err != nil {
			t.Fatal(err)
		}
		if err := s.channel().ExchangeDeclarePassive(x, "fanout", false, true, false, false, nil); err == nil {
			t.Error("it is still there without bindings")
		}
	})
}

func TestDeletedQueueTakesItsBindingsAlong(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		x, q := s.exchange("topic", nil), s.queue(nil)
		s.bind(q, "#", x, nil)
		if _, err := s.ch.QueueDelete(q, false, false, false); err != nil {
			t.Fatal(err)
		}
		s.declare(q, nil)
		s.publish(x, "a", amqp091.Publishing{})
		equal(t, "came", len(s.texts(q)), 0)
		if err := s.ch.ExchangeDelete(x, true, false); err != nil {
			t.Errorf("the exchange counts as used: %v", err)
		}
	})
}
