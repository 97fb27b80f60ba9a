package embedded

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
)

// A client whose answers pile up unread is not obeyed any more, until it has read.
func TestOutputHoldsBackWhoAddsTooMuch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		o := newOutput(theirs, func() {}, nil)
		go o.run()
		for range 2 { // the first is what is being written
			o.add(func(b []byte) []byte { return append(b, make([]byte, stopAt+1)...) })
			synctest.Wait()
		}
		room := make(chan struct{})
		go func() {
			o.waitForRoom()
			close(room)
		}()
		synctest.Wait()
		select {
		case <-room:
			t.Error("more is taken from a client that does not read")
		default:
		}
		if _, err := io.CopyN(io.Discard, ours, 2*(stopAt+1)); err != nil {
			t.Fatal(err)
		}
		<-room
		o.abort()
	})
}
