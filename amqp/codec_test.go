package amqp

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"pgregory.net/rapid"

	"github.com/eventrouter/eventrouter/router"
)

// headerNames are those that somebody reads, and some that nobody does.
var headerNames = []string{
	"x", "", "CC", "BCC", "x-death", "x-delivery-count", "x-first-death-queue", "x-last-death-reason",
	trailType, trailExchange, trailPipeline, trailAttempts, trailFirstFailure, trailNotBefore, trailError, trailRules, trailPrefix + "other",
	"cloudEvents:type", "cloudEvents:id", "cloudEvents:source", "cloudEvents:subject", "cloudEvents:time", "cloudEvents:specversion",
	"cloudEvents:tenant", "cloudEvents_tenant", "cloudEvents:", "cloudEvents_traceparent", "cloudEvents_time", "cloudEvents_type",
	"cloudEvents:data", "cloudEvents:data_base64", "cloudEvents:headers", "cloudEvents:Tenant", "cloudEvents:a_b", "cloudEvents_\x1b\n",
}

// anyValue draws what a table of AMQP can hold.
func anyValue(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		kinds := 12
		if depth > 0 {
			kinds = 14
		}
		switch rapid.IntRange(0, kinds).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return rapid.Bool().Draw(t, "bool")
		case 2:
			return rapid.Int8().Draw(t, "int8")
		case 3:
			return rapid.Uint8().Draw(t, "uint8")
		case 4:
			return rapid.Int16().Draw(t, "int16")
		case 5:
			return rapid.Int32().Draw(t, "int32")
		case 6, 7:
			return rapid.Int64().Draw(t, "int64")
		case 8:
			return rapid.Float64Range(-1e9, 1e9).Draw(t, "float64")
		case 9:
			return rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		case 10:
			return time.Unix(rapid.OneOf(rapid.Int64Range(0, 1<<33), rapid.Int64Range(-1<<60, 1<<60)).Draw(t, "time"), 0)
		case 11:
			return amqp091.Decimal{Scale: rapid.Uint8Range(0, 9).Draw(t, "scale"), Value: rapid.Int32().Draw(t, "value")}
		case 13:
			return []any(rapid.SliceOfN(anyValue(depth-1), 0, 3).Draw(t, "list"))
		case 14:
			return anyTable(depth-1).Draw(t, "table")
		}
		return rapid.StringN(0, 40, 300).Draw(t, "string")
	})
}

// anyDeaths draws what x-death is like.
func anyDeaths() *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		text := rapid.SampledFrom([]string{"", "events", "forged", "expired"})
		var deaths []any
		for range rapid.IntRange(0, 3).Draw(t, "deaths") {
			deaths = append(deaths, amqp091.Table{
				"reason": text.Draw(t, "reason"), "exchange": text.Draw(t, "exchange"), "queue": "q", "count": int64(1), "time": time.Unix(1e9, 0), "routing-keys": []any{text.Draw(t, "key")},
			})
		}
		return deaths
	})
}

func anyTable(depth int) *rapid.Generator[amqp091.Table] {
	return rapid.Custom(func(t *rapid.T) amqp091.Table {
		name := rapid.OneOf(rapid.SampledFrom(headerNames), rapid.SampledFrom([]string{"reason", "exchange", "routing-keys", "queue"}), rapid.StringN(0, 20, 200))
		return rapid.MapOfN(name, anyValue(depth), 0, 6).Draw(t, "table")
	})
}

// anyDeliveryCanBePublished checks that whatever a broker hands out is an event, which the broker takes again and which then reads the same, and which can be exported and imported.
func anyDeliveryCanBePublished(t *rapid.T) {
	text := rapid.StringN(0, 20, 255)
	d := amqp091.Delivery{
		Headers: anyTable(3).Draw(t, "headers"), ContentType: text.Draw(t, "content type"), MessageId: text.Draw(t, "id"), Type: text.Draw(t, "type"),
		ReplyTo: text.Draw(t, "reply to"), Exchange: rapid.SampledFrom([]string{"", "events", "ours"}).Draw(t, "exchange"), RoutingKey: text.Draw(t, "key"),
		DeliveryMode: rapid.Uint8Range(0, 2).Draw(t, "mode"), Body: rapid.SliceOf(rapid.Byte()).Draw(t, "body"),
	}
	if rapid.Bool().Draw(t, "died") {
		d.Headers["x-death"] = anyDeaths().Draw(t, "x-death")
	}
	out := decode(&d, []string{"events"})
	if out.Event.ID == "" {
		t.Fatal("an event without an id")
	}
	if d.Exchange == "events" && !reflect.DeepEqual(out.Trail, router.Trail{}) {
		t.Fatalf("a trail from outside is believed: %+v", out.Trail)
	}
	if d.Exchange == "events" && (out.Event.Type != d.RoutingKey || out.Exchange != d.Exchange || out.Deaths != "" || !out.Died.IsZero()) {
		t.Fatalf("deaths from outside are believed: %+v", out)
	}
	if len(out.Event.Type) > maxShort { // a long header where the type stands
		return
	}
	m := router.Message{Event: out.Event, Exchange: "x", Key: "k", Trail: out.Trail}
	m.Trail.Type, m.Trail.Exchange = out.Event.Type, "events"
	if err := check(&m); err != nil {
		if len(out.Event.ID) > maxShort {
			return
		}
		t.Fatalf("cannot be published: %v", err)
	}
	asJSON(t, out.Event)
	p := encode(&m)
	if err := p.Headers.Validate(); err != nil {
		t.Fatal(err)
	}
	for name := range p.Headers {
		if brokers(name) {
			t.Fatalf("header %q goes back to the broker", name)
		}
	}
	again := decode(&amqp091.Delivery{
		Headers: p.Headers, ContentType: p.ContentType, MessageId: p.MessageId, Type: p.Type, ReplyTo: p.ReplyTo,
		DeliveryMode: p.DeliveryMode, Exchange: "ours", RoutingKey: "k", Body: p.Body,
	}, []string{"events"})
	if again.Event.Type == "" { // the empty type has no header: the routing key counts
		again.Event.Type = out.Event.Type
	}
	if out.Event.Type == "" {
		again.Event.Type = ""
	}
	if !reflect.DeepEqual(again.Event, out.Event) {
		t.Fatalf("came as\n%+v\nand then as\n%+v", out.Event, again.Event)
	}
}

func TestWhoseDeathsAreBelieved(t *testing.T) {
	t.Parallel()
	died := time.Unix(1_800_000_000, 0)
	death := func(reason, exchange, key string) amqp091.Table {
		return amqp091.Table{"reason": reason, "exchange": exchange, "queue": "q", "count": int64(1), "time": died, "routing-keys": []any{key}}
	}
	theirs := death("rejected", "their.exchange", "their.key")
	for _, c := range []struct {
		name                   string
		exchange, key          string
		deaths                 []any
		kind, published, cause string
	}{
		{"an application publishes what was in its dead-letter queue", "events", "order.created", []any{theirs}, "order.created", "events", ""},
		{"a publisher claims another exchange and type", "events", "order.created", []any{death("expired", "events", "secret")}, "order.created", "events", ""},
		{"it died in a queue of ours", "", "shop.billing.dead", []any{death("delivery_limit", "events", "order.created")}, "order.created", "events", "delivery_limit"},
		{"and before that in theirs", "", "shop.billing.dead", []any{death("rejected", "events", "order.created"), theirs}, "order.created", "events", "rejected"},
		{"twice in ours", "", "shop.billing.dead", []any{death("rejected", "", "shop.billing"), death("expired", "events", "order.created"), theirs}, "order.created", "events", "rejected"},
		{"it came through an exchange that is none of the rules' any more", "", "q", []any{death("rejected", "", "shop.billing"), death("expired", "old", "order.created")}, "order.created", "old", "rejected"},
	} {
		d := decode(&amqp091.Delivery{Exchange: c.exchange, RoutingKey: c.key, Headers: amqp091.Table{"x-death": c.deaths}}, []string{"events"})
		if d.Event.Type != c.kind || d.Exchange != c.published || d.Deaths != c.cause || c.cause != "" && !d.Died.Equal(died) {
			t.Errorf("%s: type %q, exchange %q, died of %q at %s", c.name, d.Event.Type, d.Exchange, d.Deaths, d.Died)
		}
	}
}

// asJSON checks that an event can stand in a line of an export, and be read from there.
func asJSON(t *rapid.T, e *router.Event) {
	line, err := json.Marshal(map[string]any{"event": e})
	if err != nil {
		t.Fatalf("cannot be written: %v", err)
	}
	if e.Type == "" {
		return
	}
	var back struct{ Event *router.Event }
	if err := json.Unmarshal(line, &back); err != nil {
		t.Fatalf("%s\ncannot be read: %v", line, err)
	}
	if back.Event.ID != e.ID || back.Event.Type != e.Type || len(back.Event.Attributes) != len(e.Attributes) || len(back.Event.Headers) != len(e.Headers) {
		t.Fatalf("%+v\nis read from\n%s\nas %+v", e, line, back.Event)
	}
}

func TestWhatIsNoAttributeGoesOnAsItCame(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]any{
		"cloudEvents:data_base64": "%", "cloudEvents:data": "{}", "cloudEvents:headers": "x", "cloudEvents:a_b": "x", "cloudEvents:Tenant": "x", "cloudEvents:": "x",
		"cloudEvents:\x1b[31m\n": "x", "cloudEvents_a b": "x", "cloudEvents:n": int64(1) << 40, "cloudEvents:half": 0.5, "cloudEvents:nothing": nil,
		"cloudEvents:list": []any{"a"}, "cloudEvents:time": "soon", "cloudEvents:source": int32(7), "cloudEvents:at": time.Unix(1<<40, 0),
	} {
		d := decode(&amqp091.Delivery{Exchange: "events", RoutingKey: "a", Headers: amqp091.Table{name: v}}, []string{"events"})
		if len(d.Event.Attributes) > 0 || !reflect.DeepEqual(d.Event.Headers, map[string]any{name: v}) {
			t.Errorf("%q: attributes %v, headers %v", name, d.Event.Attributes, d.Event.Headers)
		}
		if h := encode(&router.Message{Event: d.Event}).Headers; !reflect.DeepEqual(h, amqp091.Table{name: v}) {
			t.Errorf("%q is published on as %v", name, h)
		}
	}
	both := amqp091.Table{"cloudEvents:tenant": "a", "cloudEvents_tenant": "b", "cloudEvents_level": int32(3)}
	if d := decode(&amqp091.Delivery{Headers: both}, nil); !reflect.DeepEqual(d.Event.Attributes, map[string]any{"tenant": "a", "level": int32(3)}) || len(d.Event.Headers) > 0 {
		t.Errorf("of both prefixes: %+v", d.Event)
	}
}

func TestAnyDeliveryCanBePublishedAgain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, anyDeliveryCanBePublished)
}

func FuzzDelivery(f *testing.F) { f.Fuzz(rapid.MakeFuzz(anyDeliveryCanBePublished)) }
