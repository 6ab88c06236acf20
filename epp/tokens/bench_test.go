package tokens

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkCached is a request whose prompt's tokens are in the cache. Its body is a
// chat of 1 KB or 220 KB with as many escapes as prose has.
func BenchmarkCached(b *testing.B) {
	for _, n := range []int{16, 3700} {
		body := []byte(`{"model":"m","temperature":0.7,"max_tokens":256,"messages":[{"role":"user","content":"` +
			strings.Repeat(`the measurement of \"latency\" is, however, not done yet;\n`, n) + `"}]}`)
		b.Run(fmt.Sprintf("%dKB", len(body)>>10), func(b *testing.B) {
			e, err := NewEngine(Options{Endpoints: func() []string {
				return []string{serve(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					fmt.Fprint(w, `{"token_ids":[1,2,3]}`)
				}))}
			}})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			if _, err := e.Tokens(b.Context(), Request{Path: chat, Body: body, Budget: DefaultTimeout}); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Tokens(b.Context(), Request{Path: chat, Body: body}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
