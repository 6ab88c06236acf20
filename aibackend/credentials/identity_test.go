package credentials

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestSwitchedProtocol: a server that answers 101 and says no more holds nobody up.
func TestSwitchedProtocol(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// Nothing may be said before the question: clients drop such connections.
			_, _ = http.ReadRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
			t.Cleanup(func() { _ = c.Close() })
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	done := make(chan *failure, 1)
	go func() {
		done <- getJSON(ctx, &http.Client{}, http.MethodGet, "http://"+l.Addr().String(), nil, nil, &struct{}{})
	}()
	select {
	case f := <-done:
		if f == nil || f.status != http.StatusSwitchingProtocols {
			t.Errorf("it failed with %+v, want status 101", f)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it hangs")
	}
}
