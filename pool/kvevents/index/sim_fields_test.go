package index_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/sim/server"
)

// notes writes down what is told of an endpoint.
type notes struct {
	mu   sync.Mutex
	text []string
}

func (n *notes) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text = append(n.text, fmt.Sprintf(format, args...))
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.text, "\n")
}

func (n *notes) Stored(_ string, e *kvevents.Stored) {
	var extra []string
	for i, block := range e.Extra {
		for _, x := range block {
			key := string(x.Key)
			if len(key) == 64 {
				key = "image"
			}
			extra = append(extra, fmt.Sprintf("%d:%s@%d/%v", i, key, x.Offset, x.HasOffset))
		}
	}
	n.note("stored %d of %d in %s for %q %d, rank %d, parent %v, extra %v",
		len(e.Hashes), e.BlockSize, e.Medium, e.LoRA, e.LoRAID, e.Rank, e.HasParent, extra)
}

func (n *notes) Removed(_ string, e *kvevents.Removed) {
	n.note("removed %d of %s, rank %d", len(e.Hashes), e.Medium, e.Rank)
}
func (n *notes) Cleared(string) { n.note("cleared") }

func (n *notes) Unread(string, int) { n.note("unread") }
func (n *notes) Lost(string)        {}
func (n *notes) Live(string)        {}

// TestFieldsOfEvents looks at every field that events of a format have.
func TestFieldsOfEvents(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 10) // 40 tokens
	var offsets []string                           // of an image that begins at token 4
	for i := range 16 {
		offsets = append(offsets, fmt.Sprintf("%d:image@%d/true", i, 4-16*i))
	}
	for format, want := range map[string]string{
		server.KVArray: `stored 2 of 16 in gpu for "" 0, rank 3, parent false, extra []
cleared
stored 2 of 16 in gpu for "json" 2, rank 3, parent false, extra [0:json@0/false 0:pepper@0/false 1:json@0/false]
cleared
stored 16 of 16 in gpu for "" 0, rank 3, parent false, extra [` + strings.Join(offsets, " ") + "]",
		server.KVSGLang: `stored 1 of 16 in gpu for "" 0, rank 3, parent false, extra []
stored 1 of 16 in gpu for "" 0, rank 3, parent true, extra []
cleared
stored 1 of 16 in gpu for "" 0, rank 3, parent false, extra [0:pepper@0/false]
stored 1 of 16 in gpu for "" 0, rank 3, parent true, extra []
cleared
` + strings.TrimSuffix(`stored 1 of 16 in gpu for "" 0, rank 3, parent false, extra []
`+strings.Repeat("stored 1 of 16 in gpu for \"\" 0, rank 3, parent true, extra []\n", 15), "\n"),
	} {
		for _, format := range map[string][]string{server.KVArray: {server.KVArray, server.KVMap}, server.KVSGLang: {format}}[format] {
			t.Run(format, func(t *testing.T) {
				s, url := start(t, 16, server.Config{Rank: 3, KVEvents: server.KVEvents{Format: format, Endpoint: "tcp://*:0", ReplayEndpoint: "tcp://127.0.0.1:0"}})
				for i, q := range []map[string]any{
					{"model": "m", "prompt": body, "max_tokens": 1}, {"model": "json", "prompt": body, "max_tokens": 1, "cache_salt": "pepper"},
					question("m", "", "", "a"),
				} {
					path := "/v1/completions"
					if q["messages"] != nil {
						path = "/v1/chat/completions"
					}
					if i > 0 {
						post(t, url+"/reset_prefix_cache", nil)
					}
					post(t, url+path, q)
				}
				n := &notes{}
				events, replay := s.KVEventAddrs()
				sub, err := kvevents.New(kvevents.Options{Sink: n, Logger: slog.New(slog.DiscardHandler), SocketPort: port(events) - 3, ReplayPort: port(replay) - 3})
				if err != nil {
					t.Fatal(err)
				}
				sub.SetEndpoints([]kvevents.Endpoint{{Name: "a", Address: "127.0.0.1", Port: 8000, Rank: 3, Model: "m"}})
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- sub.Run(ctx) }()
				for end := time.Now().Add(10 * time.Second); n.String() != want; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Errorf("got\n%s\nwant\n%s", n, want)
						break
					}
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		}
	}
}
