package extproc

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
)

type staticPicker struct{}

func (staticPicker) Pick(context.Context, *Request) (Pick, error) {
	return Pick{Destinations: "10.0.0.1:8000,10.0.0.2:8000"}, nil
}

// benchBody is a chat request of about n bytes.
func benchBody(n int) string {
	const words = "The quick brown fox jumps over the lazy dog, said \\\"nobody\\\" ever.\\n"
	var b strings.Builder
	b.WriteString(`{"model":"llama","stream":true,"messages":[`)
	for i := 0; b.Len() < n-100; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		text := strings.Repeat(words, min((n-b.Len())/len(words)+1, 50))
		fmt.Fprintf(&b, `{"role":"user","content":"%s"}`, text)
	}
	b.WriteString(`]}`)
	return b.String()
}

// BenchmarkStream measures the server without gRPC: decoding, scanning, encoding.
// What a request costs with gRPC, fairway bench requests tells.
func BenchmarkStream(b *testing.B) {
	for _, size := range []int{1 << 10, 220 << 10} {
		for _, mode := range []modev3.ProcessingMode_BodySendMode{buffered, duplex} {
			b.Run(fmt.Sprintf("%dKB/%v", size>>10, mode), func(b *testing.B) {
				srv := New(staticPicker{}, Options{Log: slog.New(slog.DiscardHandler)})
				s := canned(b, mode, size)
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					s.next = 0
					if err := srv.process(s); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
