package extproc

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// fakeStream is a grpc.ServerStream on one goroutine: it hands out messages, with
// the real codec, and keeps the answers.
type fakeStream struct {
	t     testing.TB
	codec codec
	in    [][]byte
	cut   int
	out   []*resp
	end   error // after the last message
}

func (s *fakeStream) SetHeader(metadata.MD) error  { return nil }
func (s *fakeStream) SendHeader(metadata.MD) error { return nil }
func (s *fakeStream) SetTrailer(metadata.MD)       {}
func (s *fakeStream) Context() context.Context     { return context.Background() }

func (s *fakeStream) RecvMsg(m any) error {
	if len(s.in) == 0 {
		return s.end
	}
	b := s.in[0]
	s.in = s.in[1:]
	return s.codec.Unmarshal(cut(b, s.cut), m)
}

func (s *fakeStream) SendMsg(m any) error {
	bufs, err := s.codec.Marshal(m)
	if err != nil {
		return err
	}
	var r resp
	if err := proto.Unmarshal(bufs.Materialize(), &r); err != nil {
		s.t.Errorf("an answer that is no ProcessingResponse: %v", err)
	}
	bufs.Free()
	s.out = append(s.out, &r)
	return nil
}

// fuzzMessage makes a message from a byte and says which body bytes it holds.
func fuzzMessage(op byte, body []byte) *req {
	end := op&0x08 != 0
	switch op & 0x07 {
	case 0, 1:
		paths := []string{chat, "/v1/messages", "/upload", "/v1/completions"}
		m := post(paths[op>>4&3], 0, 0)
		if op&0x80 != 0 {
			m.GetRequestHeaders().Headers.Headers = append(m.GetRequestHeaders().Headers.Headers, headerMap("x-request-id", "id", "x-fairway-x", string(body[:min(len(body), 100)])).Headers...)
		}
		m.GetRequestHeaders().EndOfStream = end
		return m
	case 2, 3:
		return reqBody(string(body), end)
	case 4:
		m := respHeaders(":status", "200", "content-type", []string{"text/event-stream", "application/json"}[op>>4&1])
		m.GetResponseHeaders().EndOfStream = end
		return m
	case 5:
		return respBody(string(body), end)
	case 6:
		if op&0x10 != 0 {
			return respTrailers()
		}
		return reqTrailers()
	}
	m := reqBody(string(body), end)
	m.ObservabilityMode = op&0x10 != 0
	return m
}

// FuzzStream sends any messages in any order and chunking. The server must not
// panic or hang, must answer with valid messages, end every observer once, and
// in full duplex never send back a byte it was not sent, nor two ends.
func FuzzStream(f *testing.F) {
	f.Add([]byte{0, 10}, []byte(chatBody), byte(2), byte(1), false)
	f.Add([]byte{0, 2, 10, 4, 5, 13}, []byte(chatBody), byte(4), byte(4), false)
	f.Add([]byte{0, 2, 2, 6, 4, 5, 5, 22}, []byte(chatBody), byte(4), byte(4), true)
	f.Add([]byte{8, 12}, []byte(nil), byte(4), byte(0), false)
	f.Add([]byte{32, 2, 4, 2, 5, 10, 13}, []byte("x"), byte(4), byte(4), false)
	f.Add([]byte{0, 2, 10}, []byte("{"), byte(9), byte(2), true)
	f.Add([]byte{4, 5, 13, 0, 10}, []byte("data: {}\n\n"), byte(1), byte(1), true)
	f.Add([]byte{0, 23, 7, 15, 7}, []byte(chatBody), byte(3), byte(5), true)
	f.Fuzz(func(t *testing.T, ops, body []byte, requestMode, responseMode byte, cancel bool) {
		if len(ops) > 64 || len(body) > 1<<16 {
			return
		}
		var observers []*fakeObserver
		picker := &fakePicker{pick: func(context.Context, *Request) (Pick, error) {
			o := newObserver(t)
			observers = append(observers, o)
			if len(body)%16 == 15 {
				o.panics = []string{"ResponseHeaders", "FirstToken", "End"}[len(body)/16%3]
			}
			if len(body)%16 == 14 {
				panic("picker")
			}
			return Pick{Destinations: "a:1", Observer: o}, nil
		}}
		srv := New(picker, Options{
			Log: slog.New(slog.DiscardHandler), MaxBodyBytes: 4096, MaxHeldBytes: 1 << 20,
			NewID: func() string { return "id" }, Now: func() time.Time { return time.Unix(1, 0) },
		})
		// Twice, so that a stream's state is used again.
		for range 2 {
			observers = observers[:0]
			s := &fakeStream{t: t, codec: newCodec(), cut: 1 + len(body)%200, end: io.EOF}
			if cancel {
				s.end = context.Canceled
			}
			var sent, sentBack bytes.Buffer
			for i, op := range ops {
				part := body[min(i*len(body)/len(ops), len(body)):min((i+1)*len(body)/len(ops), len(body))]
				m := fuzzMessage(op, part)
				if b := m.GetRequestBody(); b != nil && !m.ObservabilityMode {
					sent.Write(b.GetBody())
				}
				if i == 0 && requestMode < 8 {
					m.ProtocolConfig = &extprocv3.ProtocolConfiguration{
						RequestBodyMode:                         modes[requestMode%5],
						ResponseBodyMode:                        modes[responseMode%5],
						SendBodyWithoutWaitingForHeaderResponse: responseMode&0x80 != 0,
					}
				} else {
					m.ProtocolConfig = nil
				}
				b, err := proto.Marshal(m)
				if err != nil {
					return
				}
				s.in = append(s.in, b)
			}
			err := srv.process(s)
			if err == nil && len(s.in) > 0 && s.out[len(s.out)-1].GetImmediateResponse() == nil {
				t.Error("the stream ended before its messages")
			}
			for _, o := range observers {
				if o.ends != 1 && len(body)%16 != 14 {
					t.Errorf("End called %d times", o.ends)
				}
			}
			if len(observers) > 1 {
				t.Error("picked twice")
			}
			if n := srv.held.Load(); n != 0 {
				t.Errorf("%d bytes are still held", n)
			}
			ends := 0
			for _, m := range s.out {
				chunk := m.GetRequestBody().GetResponse().GetBodyMutation().GetStreamedResponse()
				sentBack.Write(chunk.GetBody())
				if chunk.GetEndOfStream() {
					ends++
				}
			}
			if ends > 1 {
				t.Errorf("%d ends of stream", ends)
			}
			if !bytes.HasPrefix(sent.Bytes(), sentBack.Bytes()) {
				t.Error("what came back is not what was sent")
			}
		}
	})
}
