package extproc

import (
	"context"
	"testing"

	"google.golang.org/grpc/metadata"
)

// misser is a Foreign that remembers what it was told of streams without a request.
type misser struct {
	noForeign
	told chan string
}

func (m misser) Missed(ctx context.Context, pool string) {
	m.told <- pool + " " + metadata.ValueFromIncomingContext(ctx, "x-try")[0]
}

// Only a stream that ended before its first message is missed.
func TestMissed(t *testing.T) {
	m := misser{told: make(chan string, 9)}
	h := newHarness(t, Options{Foreign: m})
	c := h.open(PoolMetadata, "ns/seen", "x-try", "0")
	c.ask(ended(post("/v1/models", buffered, streamed)))
	c.finish()
	h.open(PoolMetadata, "ns/ends", "x-try", "1").finish()
	if got := <-m.told; got != "ns/ends 1" {
		t.Error(got)
	}
}
