package ingress

import (
	"bytes"
	"encoding/json"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

var arrays = []string{
	"[]", " [ ] ", "[1]", "\t[ 1 , {\"a\":[1,2]} ,\"x,]\" ]\n", "[null]", "[[],[]]", "[\"\xff\"]",
	"", " ", "[", "[1", "[1,", "[1,]", "[,1]", "[1]]", "[1] 2", "[1 2]", "null", "{}", "1", "[1}", "[}", "\ufeff[]", strings.Repeat("[", 10000) + strings.Repeat("]", 10000),
	strings.Repeat("[", 10001) + strings.Repeat("]", 10001),
}

// FuzzElements: the elements of an array are those that encoding/json finds.
func FuzzElements(f *testing.F) {
	for _, text := range arrays {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		const most = 3
		var want []json.RawMessage
		valid := json.Unmarshal(text, &want) == nil && want != nil
		first, n, ok := elements(text, most)
		if ok != valid || ok && (n != len(want) || len(first) != min(n, most)) {
			t.Fatalf("%d elements, %d of them returned, %v; want %d, %v", n, len(first), ok, len(want), valid)
		}
		for i := range first {
			if ok && !bytes.Equal(first[i], want[i]) {
				t.Errorf("element %d is %q, want %q", i, first[i], want[i])
			}
		}
	})
}

func TestABatchOfVeryManyCostsNoMoreThanItsBody(t *testing.T) { // not parallel: it measures what all goroutines allocate
	body := "[" + strings.Repeat("0,", 1<<19-2) + "0]"
	r := request("POST", "/events", body, "content-type: "+batch)
	h := newDoor(&broker{}, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	w, p := do(h, r)
	runtime.ReadMemStats(&after)
	if w.Code != http.StatusRequestEntityTooLarge || p.Detail != "the batch has 524287 events; the limit is 1000" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 4*uint64(len(body)) {
		t.Errorf("%d bytes were allocated for a body of %d", took, len(body))
	}
}
