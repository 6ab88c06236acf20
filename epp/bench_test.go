package epp

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/pool"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

func benchPool(n int) *pool.Pool {
	var specs []pool.Spec
	for i := range n {
		specs = append(specs, pool.Spec{ID: fmt.Sprintf("ns/pod-%d", i), Address: fmt.Sprintf("10.0.%d.%d:8000", i/250, i%250+1)})
	}
	p := pool.New("ns/pool", pool.Options{})
	p.Set(specs)
	return p
}

// BenchmarkPick is a request from the pick to the end of its response, with the
// explanation that is always kept.
func BenchmarkPick(b *testing.B) {
	for _, n := range []int{8, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p, err := New(Options{Pools: onePool(benchPool(n)), Hold: true, Explain: explain.NewRing(0), Seed: 1})
			if err != nil {
				b.Fatal(err)
			}
			req := prompt("r", "m", 2000)
			for i := range 40 {
				req.Body.Blocks = append(req.Body.Blocks, prefix.Block{Hash: uint64(i+1) * 0x9e3779b97f4a7c15, Tokens: 50})
			}
			ctx, now := context.Background(), time.Now()
			b.ReportAllocs()
			for b.Loop() {
				pick, err := p.Pick(ctx, req)
				if err != nil {
					b.Fatal(err)
				}
				pick.Observer.ResponseHeaders(now, 200, "")
				pick.Observer.FirstToken(now)
				pick.Observer.End(now, extproc.Outcome{Status: 200, Complete: true})
			}
		})
	}
}

// BenchmarkExchange is the same over gRPC on a unix socket, with a 1 KB body and
// a short streamed response.
func BenchmarkExchange(b *testing.B) {
	for _, n := range []int{8, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			conn := benchServer(b, benchPool(n))
			client := extprocv3.NewExternalProcessorClient(conn)
			body := []byte(strings.Replace(chat, "hello", strings.Repeat("hello world ", 80), 1))
			b.ReportAllocs()
			for b.Loop() {
				oneExchange(b, client, body)
			}
		})
	}
}
