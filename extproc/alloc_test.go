package extproc

import (
	"context"
	"io"
	"log/slog"
	"testing"

	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// cannedStream hands out prepared messages and drops the answers, allocating
// nothing itself.
type cannedStream struct {
	fakeStream
	frames []mem.BufferSlice
	next   int
}

func (s *cannedStream) Context() context.Context     { return context.Background() }
func (s *cannedStream) SetTrailer(metadata.MD)       {}
func (s *cannedStream) SendHeader(metadata.MD) error { return nil }

func (s *cannedStream) RecvMsg(m any) error {
	if s.next == len(s.frames) {
		return io.EOF
	}
	s.next++
	return s.codec.Unmarshal(s.frames[s.next-1], m)
}

func (s *cannedStream) SendMsg(m any) error {
	bufs, err := s.codec.Marshal(m)
	bufs.Free()
	return err
}

// canned is a whole exchange with a request body of about size bytes, in the
// buffers of 16 KiB that gRPC reads.
func canned(t testing.TB, mode modev3.ProcessingMode_BodySendMode, size int) *cannedStream {
	s := &cannedStream{fakeStream: fakeStream{t: t, codec: newCodec()}}
	for _, m := range []*req{
		post(chat, mode, streamed, "x-request-id", "a", "user-agent", "b"),
		reqBody(benchBody(size), true),
		respHeaders(":status", "200"),
		respBody("{}", true),
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var frame mem.BufferSlice
		for len(b) > 0 {
			n := min(len(b), 16<<10)
			frame = append(frame, mem.SliceBuffer(b[:n:n]))
			b = b[n:]
		}
		s.frames = append(s.frames, frame)
	}
	return s
}

// TestAllocations: what a request allocates does not grow with its body. In full
// duplex each chunk sent back needs a list of buffers, and where the test's have
// no reference count, slices of them.
func TestAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("pools are unpredictable under the race detector")
	}
	srv := New(staticPicker{}, Options{Log: slog.New(slog.DiscardHandler)})
	measure := func(mode modev3.ProcessingMode_BodySendMode, size int) float64 {
		s := canned(t, mode, size)
		return testing.AllocsPerRun(200, func() {
			s.next = 0
			if err := srv.process(s); err != nil {
				t.Fatal(err)
			}
		})
	}
	const (
		small = 4 << 10
		large = 1 << 20
	)
	for _, c := range []struct {
		mode     modev3.ProcessingMode_BodySendMode
		max      float64 // for a small body
		perChunk float64
	}{
		{buffered, 12, 0},
		{duplex, 14, 8},
	} {
		few, many := measure(c.mode, small), measure(c.mode, large)
		t.Logf("%v: %.0f allocations for 4 KiB, %.0f for 1 MiB", c.mode, few, many)
		if few > c.max {
			t.Errorf("%v: %.0f allocations for a small body, want at most %.0f", c.mode, few, c.max)
		}
		// The pools lose a buffer now and then, hence the 2.
		if want := few + c.perChunk*(large/maxChunk+1) + 2; many > want {
			t.Errorf("%v: %.0f allocations for 1 MiB, want at most %.0f as for 4 KiB: %.0f", c.mode, many, want, few)
		}
	}
}
