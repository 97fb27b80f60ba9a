package webhook

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/eventrouter/eventrouter/router"
)

func TestBinaryModeHasAttributesAsHeadersAndDataAsItIs(t *testing.T) {
	t.Parallel()
	e := order()
	e.ContentType = `application/json; charset="utf-8"`
	e.Attributes = map[string]any{
		"tenant": "north", "retries": int32(3), "urgent": true, "raw": []byte{0xff, 0}, "empty": "", "nothing": nil,
		"due": time.Date(2026, 2, 1, 1, 0, 0, 0, time.FixedZone("", 3600)), "traceparent": "00-ab-cd-01",
	}
	got := sent(t, Options{UserAgent: "eventrouter/1"}, e)
	for name, want := range map[string]string{
		"Ce-Specversion": "1.0", "Ce-Id": "order-17", "Ce-Type": "order.placed", "Ce-Source": "/shop", "Ce-Subject": "17", "Ce-Time": "2026-01-31T12:00:00Z",
		"Ce-Tenant": "north", "Ce-Retries": "3", "Ce-Urgent": "true", "Ce-Raw": "/wA=", "Ce-Due": "2026-02-01T00:00:00Z",
		"Ce-Traceparent": "00-ab-cd-01", "Traceparent": "00-ab-cd-01",
		"Content-Type": `application/json; charset="utf-8"`, "User-Agent": "eventrouter/1",
	} {
		if got := got.Header.Get(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	if got.Method != http.MethodPost || got.body != `{"total": 1}` {
		t.Errorf("got %s %q", got.Method, got.body)
	}
	if _, there := got.Header["Ce-Empty"]; !there {
		t.Error("an empty attribute is not sent")
	}
	if _, there := got.Header["Ce-Nothing"]; there {
		t.Error("an attribute without a value is sent")
	}
}

// The project's own reading of the binding is checked against CloudEvents' SDK, which leaves percent-encoding to its caller.
func TestCloudEventsSDKReadsBothModes(t *testing.T) {
	t.Parallel()
	for _, structured := range []bool{false, true} {
		e := order()
		e.Source = ""
		e.Subject = "Käse \"50%\"\r\nX-Evil: 1 🧀"
		e.Attributes = map[string]any{"tenant": "nord süd"}
		e.Headers = map[string]any{"x-internal": "1"}
		got := sent(t, Options{Structured: structured}, e)
		decoded := func(s string) string { return s }
		if !structured {
			decoded = unescaped(t)
		}
		read, err := cloudevents.NewEventFromHTTPRequest(&http.Request{Header: got.Header, Body: readable(got.body)})
		if err != nil {
			t.Fatalf("structured %v: %v", structured, err)
		}
		if err := read.Validate(); err != nil {
			t.Errorf("structured %v: %v", structured, err)
		}
		if read.ID() != e.ID || read.Type() != e.Type || read.Source() != "/" || decoded(read.Subject()) != e.Subject || !read.Time().Equal(e.Time) {
			t.Errorf("structured %v: read %v", structured, read)
		}
		if tenant, _ := read.Extensions()["tenant"].(string); decoded(tenant) != "nord süd" || len(read.Extensions()) != 1 {
			t.Errorf("structured %v: extensions %v", structured, read.Extensions())
		}
		var data, want any
		if json.Unmarshal(read.Data(), &data) != nil || json.Unmarshal(e.Data, &want) != nil || data.(map[string]any)["total"] != want.(map[string]any)["total"] {
			t.Errorf("structured %v: data %s", structured, read.Data())
		}
	}
}

func unescaped(t *testing.T) func(string) string {
	return func(s string) string {
		out, err := url.PathUnescape(s)
		if err != nil {
			t.Error(err)
		}
		return out
	}
}

func TestStructuredModeIsOneDocument(t *testing.T) {
	t.Parallel()
	e := order()
	e.Headers = map[string]any{"authorization": "publisher's"}
	got := sent(t, Options{Structured: true}, e)
	want := `{"specversion":"1.0","id":"order-17","type":"order.placed","source":"/shop","subject":"17","time":"2026-01-31T12:00:00Z",` +
		`"datacontenttype":"application/json","data":{"total":1}}`
	if got.body != want || got.Header.Get("Content-Type") != "application/cloudevents+json" {
		t.Errorf("%s:\n got %s\nwant %s", got.Header.Get("Content-Type"), got.body, want)
	}
	if got.Header.Get("Ce-Id") != "" {
		t.Error("it has headers of binary mode")
	}
}

func TestAnEventStaysWithinItsHeaders(t *testing.T) {
	t.Parallel()
	evil := "x\r\nX-Evil: 1\r\n\r\nGET /other HTTP/1.1\x00\x7f"
	e := router.Event{
		ID: evil, Type: evil, Source: "http://elsewhere.example/" + evil, Subject: evil, ContentType: "text/plain" + evil, Data: []byte(evil),
		Attributes: map[string]any{"host": "elsewhere.example", "id": "other", "authorization": "mine", "traceparent": evil, "x": evil},
		Headers:    map[string]any{"X-Evil": "1", "Host": "elsewhere.example", "Authorization": "mine"},
	}
	got := sent(t, Options{URL: "/hook?key=k", Secret: "s3cret", Headers: map[string]string{"Authorization": "ours"}}, e)
	if got.Header.Get("X-Evil") != "" || got.RequestURI != "/hook?key=k" || !strings.HasPrefix(got.Host, "127.0.0.1:") {
		t.Errorf("got %s %s %v", got.Host, got.RequestURI, got.Header)
	}
	if got := got.Header.Get("Authorization"); got != "ours" {
		t.Errorf("authorization is %q", got)
	}
	const encoded = "x%0D%0AX-Evil:%201%0D%0A%0D%0AGET%20/other%20HTTP/1.1%00%7F"
	for _, name := range []string{"Ce-Id", "Ce-Type", "Ce-Subject", "Ce-X", "Webhook-Id"} {
		if got := got.Header.Get(name); got != encoded {
			t.Errorf("%s is %q", name, got)
		}
	}
	for _, name := range []string{"Content-Type", "Traceparent"} {
		if got := got.Header.Get(name); !strings.Contains(got, "x%0D%0AX-Evil: 1") {
			t.Errorf("%s is %q", name, got)
		}
	}
}

func TestAttributeThatIsNoHeadersNameIsPermanent(t *testing.T) {
	t.Parallel()
	url, got := receiver(t, nil)
	e := order()
	e.Attributes = map[string]any{"x\r\nX-Evil": "1"}
	wantPermanent(t, made(t, Options{URL: url})(t.Context(), e), `attribute "x\r\nX-Evil"`)
	if len(got) != 0 {
		t.Error("a request was made")
	}
}

func TestDataThatIsAnEventItselfIsNotSentAsTheEvent(t *testing.T) {
	t.Parallel()
	const inner = `{"specversion":"1.0","id":"1","source":"/evil","type":"admin.promoted"}`
	for _, contentType := range []string{
		"application/cloudevents+json", "application/cloudevents-batch+json", "Application/CloudEvents+JSON; charset=utf-8", "\t application/cloudevents",
	} {
		url, got := receiver(t, nil)
		e := order()
		e.ContentType, e.Data = contentType, []byte(inner)
		wantPermanent(t, made(t, Options{URL: url})(t.Context(), e), "mode structured can send it")
		if len(got) != 0 {
			t.Errorf("%q: a request was made", contentType)
		}
	}
	e := order()
	e.ContentType, e.Data = "application/cloudevents+json", []byte(inner)
	got := sent(t, Options{Structured: true}, e)
	read, err := cloudevents.NewEventFromHTTPRequest(&http.Request{Header: got.Header, Body: readable(got.body)})
	if err != nil || read.Type() != "order.placed" || read.DataContentType() != e.ContentType {
		t.Errorf("in structured mode: %v, %v", read, err)
	}
}

func TestSignature(t *testing.T) {
	t.Parallel()
	const raw = "a raw secret, not base64!"
	encoded := "whsec_" + base64.StdEncoding.EncodeToString([]byte("key of 24 bytes, or more"))
	for _, tt := range []struct {
		name, secret string
		structured   bool
		verifier     func() (*standardwebhooks.Webhook, error)
	}{
		{"encoded", encoded, false, func() (*standardwebhooks.Webhook, error) { return standardwebhooks.NewWebhook(encoded) }},
		{"raw", raw, false, func() (*standardwebhooks.Webhook, error) { return standardwebhooks.NewWebhookRaw([]byte(raw)) }},
		{"structured", raw, true, func() (*standardwebhooks.Webhook, error) { return standardwebhooks.NewWebhookRaw([]byte(raw)) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := sent(t, Options{Secret: tt.secret, Structured: tt.structured}, order())
			v, err := tt.verifier()
			if err != nil {
				t.Fatal(err)
			}
			if err := v.Verify([]byte(got.body), got.Header); err != nil {
				t.Errorf("a receiver does not accept it: %v", err)
			}
			if err := v.Verify([]byte(got.body+" "), got.Header); err == nil {
				t.Error("a receiver accepts another body")
			}
			if id := got.Header.Get("Webhook-Id"); id != "order-17" {
				t.Errorf("webhook-id is %q", id)
			}
			at, err := strconv.ParseInt(got.Header.Get("Webhook-Timestamp"), 10, 64)
			if err != nil || time.Since(time.Unix(at, 0)).Abs() > time.Minute {
				t.Errorf("webhook-timestamp is %d, %v", at, err)
			}
		})
	}
	if got := sent(t, Options{}, order()); got.Header.Get("Webhook-Signature") != "" {
		t.Error("it is signed without a secret")
	}
}

func TestHeadersOfTheOptions(t *testing.T) {
	t.Parallel()
	e := order()
	e.ContentType = ""
	got := sent(t, Options{UserAgent: "theirs", Headers: map[string]string{
		"authorization": "Bearer abc", "X-Shop": "north", "host": "shop.example", "user-agent": "ours", "Content-Type": "text/csv",
	}}, e)
	for name, want := range map[string]string{"Authorization": "Bearer abc", "X-Shop": "north", "User-Agent": "ours", "Content-Type": "text/csv"} {
		if got := got.Header.Get(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	if got.Host != "shop.example" {
		t.Errorf("host is %q", got.Host)
	}
}

func TestUserOfTheURL(t *testing.T) {
	t.Parallel()
	url, got := receiver(t, nil)
	if err := made(t, Options{URL: strings.Replace(url, "://", "://me:pass@", 1)})(t.Context(), order()); err != nil {
		t.Fatal(err)
	}
	if name, password, ok := (<-got).BasicAuth(); !ok || name != "me" || password != "pass" {
		t.Errorf("got %q %q %v", name, password, ok)
	}
}
