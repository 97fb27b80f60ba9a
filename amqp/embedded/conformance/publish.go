package conformance

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

func messagesComeAsTheyWent(t *testing.T, s *probe.Session) {
	q := s.Queue(nil)
	want := amqp091.Publishing{
		ContentType: "text/plain", ContentEncoding: "identity", DeliveryMode: 2, Priority: 3, CorrelationId: "c", ReplyTo: "r",
		Expiration: "60000", MessageId: "m", Timestamp: time.Unix(1700000000, 0), Type: "t", UserId: "guest", AppId: "a",
		Headers: amqp091.Table{
			"bool": true, "int8": int8(-1), "uint8": uint8(200), "int16": int16(-300), "uint16": uint16(60000), "int32": int32(-70000),
			"uint32": uint32(4000000000), "int64": int64(-1 << 40), "float32": float32(1.5), "float64": 2.5, "text": "ä", "bytes": []byte{0, 255},
			"decimal": amqp091.Decimal{Scale: 2, Value: 314}, "time": time.Unix(5, 0), "nil": nil, "list": []any{int32(1), "x", []any{true}},
			"table": amqp091.Table{"deep": amqp091.Table{"er": "x"}}, "empty": "",
		},
		Body: []byte("body"),
	}
	s.Publish("", q, want)
	d := s.Take(q)
	got := amqp091.Publishing{
		ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: d.DeliveryMode, Priority: d.Priority, CorrelationId: d.CorrelationId,
		ReplyTo: d.ReplyTo, Expiration: d.Expiration, MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, UserId: d.UserId, AppId: d.AppId,
		Headers: d.Headers, Body: d.Body,
	}
	for name, v := range want.Headers {
		if !reflect.DeepEqual(got.Headers[name], v) {
			t.Errorf("header %s: got %#v, want %#v", name, got.Headers[name], v)
		}
	}
	probe.Equal(t, "headers", len(got.Headers), len(want.Headers))
	got.Headers, want.Headers = nil, nil
	if !got.Timestamp.Equal(want.Timestamp) {
		t.Errorf("timestamp %v, want %v", got.Timestamp, want.Timestamp)
	}
	got.Timestamp = want.Timestamp
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func bodiesOfAllSizes(t *testing.T, s *probe.Session) {
	q := s.Queue(nil)
	const frame = 131072 - 8
	for _, size := range []int{0, 1, frame - 1, frame, frame + 1, 3 * frame, 1 << 20, 16 << 20} {
		body := bytes.Repeat([]byte{'x'}, size)
		s.Publish("", q, amqp091.Publishing{Body: body})
		if d := s.Take(q); !bytes.Equal(d.Body, body) {
			t.Errorf("%d bytes came as %d", size, len(d.Body))
		}
	}
}

func confirmsCoverEveryMessageOnce(t *testing.T, s *probe.Session) {
	const n = 2000
	q := s.Queue(nil)
	var confirms []*amqp091.DeferredConfirmation
	for i := range n {
		c, err := s.Ch.PublishWithDeferredConfirm("", q, false, false, amqp091.Publishing{Body: fmt.Append(nil, i)})
		if err != nil {
			t.Fatal(err)
		}
		confirms = append(confirms, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), probe.Patience)
	defer cancel()
	for i, c := range confirms {
		if ok, err := c.WaitContext(ctx); err != nil || !ok {
			t.Fatalf("message %d: %v, %v", i, ok, err)
		}
	}
	for i, text := range s.Texts(q) {
		if text != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, text)
		}
	}
}

func mandatoryComesBack(t *testing.T, s *probe.Session) {
	returns := s.Ch.NotifyReturn(make(chan amqp091.Return, 8))
	x, q := s.Exchange("direct", nil), s.Queue(nil)
	s.Bind(q, "yes", x, nil)
	for _, key := range []string{"yes", "no"} {
		c, err := s.Ch.PublishWithDeferredConfirm(x, key, true, false, amqp091.Publishing{MessageId: key, Body: []byte("body")})
		if err != nil {
			t.Fatal(err)
		}
		if !c.Wait() {
			t.Errorf("%s was refused", key)
		}
	}
	// The return is on the wire before the confirm that was waited for.
	r := <-returns
	probe.Equal(t, "returned", []any{r.ReplyCode, r.ReplyText, r.Exchange, r.RoutingKey, r.MessageId, string(r.Body)}, []any{uint16(312), "NO_ROUTE", x, "no", "no", "body"})
	probe.Equal(t, "other returns", len(returns), 0)
	probe.Equal(t, "routed", s.Depth(q), 1)
}

func mandatoryIsContentWithTheAlternateExchange(t *testing.T, s *probe.Session) {
	returns := s.Ch.NotifyReturn(make(chan amqp091.Return, 8))
	last, lost := s.Exchange("fanout", nil), s.Queue(nil)
	s.Bind(lost, "", last, nil)
	x := s.Exchange("direct", amqp091.Table{"alternate-exchange": last})
	c, err := s.Ch.PublishWithDeferredConfirm(x, "k", true, false, amqp091.Publishing{})
	if err != nil {
		t.Fatal(err)
	}
	c.Wait()
	probe.Equal(t, "returns", len(returns), 0)
	probe.Equal(t, "kept", s.Depth(lost), 1)
}

func overflowRejectPublish(t *testing.T, s *probe.Session) {
	for _, args := range []amqp091.Table{
		{"x-max-length": int32(2), "x-overflow": "reject-publish"},
		{"x-max-length-bytes": int32(2), "x-overflow": "reject-publish"},
	} {
		q, open := s.Queue(args), s.Queue(nil)
		s.Send(q, "1", "2")
		probe.Equal(t, "a message over the limit is taken", s.Publish("", q, amqp091.Publishing{Body: []byte("3")}), false)
		// One refusal is enough for a nack, and the other queue has it all the same.
		probe.Equal(t, "taken by two", s.Publish("", q, amqp091.Publishing{Headers: amqp091.Table{"CC": []any{open}}, Body: []byte("4")}), false)
		probe.Equal(t, "the open queue's", s.Texts(open), []string{"4"})
		s.Take(q)
		probe.Equal(t, "taken when there is room", s.Publish("", q, amqp091.Publishing{Body: []byte("5")}), true)
		probe.Equal(t, "kept", s.Texts(q), []string{"2", "5"})
	}
}
