package embedded

import (
	"reflect"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

func TestDeathsAreWrittenAndRead(t *testing.T) {
	t.Parallel()
	dead := &more{
		copies: []string{"cc", "bcc"}, hidden: 1, lastFrom: "retry", failed: 3,
		deaths: []death{{queue: "q", reason: diedRejected, count: 2, exchange: "orders", keys: []string{"k", "cc"}, first: time.Unix(1, 2), expiration: "30"}},
	}
	written := appendMore(nil, dead)
	beforeMoreDead := append([]byte{morePlain}, written[1+4+1+len("retry"):]...)
	asItWas := *dead
	asItWas.failed, asItWas.lastFrom = 0, "orders"
	for _, c := range []struct {
		name    string
		written []byte
		want    *more
	}{
		{"none", appendMore(nil, nil), nil},
		{"copies alone", appendMore(nil, &more{copies: []string{"cc"}}), &more{copies: []string{"cc"}}},
		{"deaths", written, dead},
		{"deaths in an older folder", beforeMoreDead, &asItWas},
	} {
		d := wire.NewDecoder(c.written)
		if got := readMore(d); !reflect.DeepEqual(got, c.want) || d.Err != nil || len(d.Rest()) > 0 {
			t.Errorf("%s: got %+v, %v; want %+v", c.name, got, d.Err, c.want)
		}
	}
}
