package scan

import "testing"

func benchmarkScan(b *testing.B, body []byte, chunk int) {
	s := New(Options{})
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		s.Reset(ChatCompletions)
		for rest := body; len(rest) > 0; {
			n := min(chunk, len(rest))
			if err := s.Write(rest[:n]); err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
		if _, err := s.Finish(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScan1KB(b *testing.B)         { benchmarkScan(b, chatBody(1<<10), 1<<20) }
func BenchmarkScan220KB(b *testing.B)       { benchmarkScan(b, chatBody(220<<10), 1<<20) }
func BenchmarkScan220KBChunks(b *testing.B) { benchmarkScan(b, chatBody(220<<10), 16<<10) }
func BenchmarkScanPlainText220KB(b *testing.B) {
	long := make([]byte, 220<<10)
	for i := range long {
		long[i] = "abcdefgh "[i%9]
	}
	benchmarkScan(b, encode(msg{"model": "m", "messages": []any{msg{"role": "user", "content": string(long)}}}), 1<<20)
}
