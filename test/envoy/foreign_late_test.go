package envoy

import (
	"fmt"
	"strings"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"

	"github.com/fairway-ai/fairway/extproc/relay"
	"github.com/fairway-ai/fairway/internal/testkit"
)

// TestForeignPickerIsLate: a picker that begins to listen only after the first request
// has arrived picks for it, and so does one that comes back after a restart.
func TestForeignPickerIsLate(t *testing.T) {
	for mode := range relayModes {
		t.Run(mode, func(t *testing.T) {
			r := newRelayRig(t, mode, modelServer)
			address := testkit.Refused(t)
			err := r.registry.Set("ns/p", relay.Picker{Address: address, Timeout: patience, TLS: relay.TLS{Security: relay.Plaintext}})
			if err != nil {
				t.Fatal(err)
			}
			// request is answered by a picker that begins while it waits.
			request := func(body string) *grpc.Server {
				t.Helper()
				before := r.asked.n.Load()
				type result struct {
					*answer
					err error
				}
				done := make(chan result, 1)
				go func() {
					a, err := (&rig{t: t, url: r.url}).try(chat, strings.NewReader(body))
					done <- result{a, err}
				}()
				eventually(t, "the request arrives", func() error {
					if n := r.asked.n.Load() - before; n != 1 {
						return fmt.Errorf("%d did", n)
					}
					return nil
				})
				time.Sleep(300 * time.Millisecond) // for attempts to fail
				g := grpc.NewServer()
				extprocv3.RegisterExternalProcessorServer(g, &foreignPicker{pick: r.b.addr})
				serveGRPC(t, g, address)
				got := <-done
				if got.err != nil || got.status != 200 || got.by() != r.b.addr || got.header.Get("x-theirs") != "yes" {
					t.Fatalf("got %+v, %v, want the picked endpoint", got.answer, got.err)
				}
				if _, b, _ := r.b.last(); string(b) != body {
					t.Errorf("the server got %d bytes, want %d", len(b), len(body))
				}
				return g
			}
			g := request(modelPrompt(100, "m"))
			for _, size := range []int{100, 2 << 20} {
				g.Stop()
				g = request(modelPrompt(size, "m"))
			}
			// It does not stay with the second tries.
			if got := r.post(modelPrompt(100, "m")); got.status != 200 || got.by() != r.b.addr {
				t.Errorf("got %d by %s", got.status, got.by())
			}
		})
	}
}
