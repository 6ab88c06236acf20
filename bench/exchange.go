package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/fairway-ai/fairway/bench/echo"
	"github.com/fairway-ai/fairway/extproc"
)

const (
	// envoyChunk is the most of a body that Envoy sends in one message.
	envoyChunk = 64 << 10
	// overrideTag is the first byte of an answer that only asks for more time.
	overrideTag = 10<<3 | 2
)

// exchange is one request as Envoy sends it. Messages are kept encoded, so that
// the client costs little. It is for one stream at a time.
type exchange struct {
	frames  [][]byte
	answers []int // that are read after each frame
	last    int   // the frame of the body's end
	nonce   []byte
}

// newExchange makes the messages of a request. early is true for a server that
// answers a full duplex request's headers before it has the body.
func newExchange(b body, duplex, early bool) (*exchange, error) {
	mode := modev3.ProcessingMode_BUFFERED
	chunk, first := len(b.bytes), 1
	if duplex {
		mode, chunk, first = modev3.ProcessingMode_FULL_DUPLEX_STREAMED, envoyChunk, 0
		if early {
			first = 1
		}
	}
	x := &exchange{}
	ms := []*extprocv3.ProcessingRequest{requestHeaders(mode, len(b.bytes))}
	x.answers = append(x.answers, first)
	for rest := b.bytes; len(rest) > 0; {
		n := min(len(rest), chunk)
		ms = append(ms, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{
			RequestBody: &extprocv3.HttpBody{Body: rest[:n], EndOfStream: n == len(rest)},
		}})
		x.answers = append(x.answers, 0)
		rest = rest[n:]
	}
	x.last = len(ms) - 1
	x.answers[x.last] = 1 // unless setBodyAnswers says otherwise
	ms = append(ms,
		&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: headers(
			":status", "200", "content-type", "application/json", "server", "uvicorn")}},
		&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{
			ResponseBody: &extprocv3.HttpBody{Body: []byte(answer), EndOfStream: true}}})
	x.answers = append(x.answers, 1, 1)
	for _, m := range ms {
		frame, err := marshal(m)
		if err != nil {
			return nil, fmt.Errorf("a request to measure with: %w", err)
		}
		x.frames = append(x.frames, frame)
	}
	at := b.nonce / chunk
	if b.nonce/chunk != (b.nonce+nonceBytes-1)/chunk {
		return nil, nil // a nonce in two chunks: the caller leaves this body out
	}
	frame := x.frames[1+at]
	_, frameBody, _ := bytes.Cut(frame, b.bytes[at*chunk:b.nonce])
	x.nonce = frameBody[:nonceBytes]
	return x, nil
}

// marshal writes the fields in the order of their numbers, as Envoy does; Go puts
// the request, a oneof, last.
func marshal(m *extprocv3.ProcessingRequest) ([]byte, error) {
	frame, err := proto.Marshal(&extprocv3.ProcessingRequest{Request: m.GetRequest()})
	if err != nil || m.GetProtocolConfig() == nil {
		return frame, err
	}
	return proto.MarshalOptions{}.MarshalAppend(frame, &extprocv3.ProcessingRequest{ProtocolConfig: m.GetProtocolConfig()})
}

func requestHeaders(mode modev3.ProcessingMode_BodySendMode, length int) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: headers(
			":method", "POST", ":scheme", "http", ":path", "/v1/chat/completions", ":authority", "llm.example.com",
			"user-agent", "OpenAI/Python 1.99.1", "accept", "application/json", "accept-encoding", "gzip, deflate",
			"content-type", "application/json", "content-length", fmt.Sprint(length), "x-stainless-lang", "python",
			"authorization", "Bearer sk-0123456789abcdef0123456789abcdef", "x-forwarded-for", "10.1.2.3",
			"x-forwarded-proto", "http", "x-request-id", "6dcd7bbd-7c20-4e12-9bd1-7d6c1f6a2d14")},
		ProtocolConfig: &extprocv3.ProtocolConfiguration{
			RequestBodyMode: mode, ResponseBodyMode: modev3.ProcessingMode_STREAMED,
		},
	}
}

func headers(kv ...string) *extprocv3.HttpHeaders {
	m := &corev3.HeaderMap{}
	for i := 0; i < len(kv); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: kv[i], RawValue: []byte(kv[i+1])})
	}
	return &extprocv3.HttpHeaders{Headers: m}
}

// setBodyAnswers says how many answers come after the end of the body.
func (x *exchange) setBodyAnswers(n int) { x.answers[x.last] = n }

// run makes one exchange, with a body that no other has.
func (x *exchange) run(ctx context.Context, conn *grpc.ClientConn, nonce uint64) error {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	s, err := open(ctx, conn)
	if err != nil {
		return err
	}
	putNonce(x.nonce, nonce)
	var in echo.Frame
	defer in.Free()
	for i, f := range x.frames {
		if err := send(s, f); err != nil {
			return err
		}
		for n := 0; n < x.answers[i]; {
			if err := s.RecvMsg(&in); err != nil {
				return fmt.Errorf("receive: %w", err)
			}
			if in.First() != overrideTag {
				n++
			}
		}
	}
	if err := s.CloseSend(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	// The frames are the caller's again only when the stream has ended.
	if err := s.RecvMsg(&in); !errors.Is(err, io.EOF) {
		return fmt.Errorf("the stream did not end: %w", err)
	}
	return nil
}

func open(ctx context.Context, conn *grpc.ClientConn) (grpc.ClientStream, error) {
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+extproc.ServiceName+"/Process")
	if err != nil {
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	return s, nil
}

func send(s grpc.ClientStream, frame []byte) error {
	if err := s.SendMsg(&echo.Frame{Bufs: mem.BufferSlice{mem.SliceBuffer(frame)}}); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// probe sends a request up to the end of its body, reads until the answer to that
// ends, and returns the number of answers. The answer must name a destination.
func (x *exchange) probe(ctx context.Context, conn *grpc.ClientConn, duplex bool) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	s, err := open(ctx, conn)
	if err != nil {
		return 0, err
	}
	read := 0
	picked := false
	next := func() (*extprocv3.ProcessingResponse, error) {
		var in echo.Frame
		defer in.Free()
		if err := s.RecvMsg(&in); err != nil {
			return nil, fmt.Errorf("receive: %w", err)
		}
		if in.First() == overrideTag {
			return &extprocv3.ProcessingResponse{}, nil
		}
		read++
		m := &extprocv3.ProcessingResponse{}
		if err := proto.Unmarshal(in.Bufs.Materialize(), m); err != nil {
			return nil, fmt.Errorf("decode: %w", err)
		}
		if r := m.GetImmediateResponse(); r != nil {
			return nil, fmt.Errorf("the picker answered %v: %.200s", r.GetStatus().GetCode(), r.GetBody())
		}
		for _, c := range []*extprocv3.CommonResponse{m.GetRequestHeaders().GetResponse(), m.GetRequestBody().GetResponse()} {
			for _, h := range c.GetHeaderMutation().GetSetHeaders() {
				picked = picked || h.GetHeader().GetKey() == destination
			}
		}
		return m, nil
	}
	for i, f := range x.frames[:x.last+1] {
		if err := send(s, f); err != nil {
			return 0, err
		}
		for range x.answers[i] {
			if i == x.last {
				break
			}
			if _, err := next(); err != nil {
				return 0, err
			}
		}
	}
	read = 0
	for {
		m, err := next()
		if err != nil {
			return 0, err
		}
		if b := m.GetRequestBody(); b != nil && (!duplex || b.GetResponse().GetBodyMutation().GetStreamedResponse().GetEndOfStream()) {
			break
		}
	}
	if !picked {
		return 0, fmt.Errorf("the picker named no endpoint")
	}
	return read, nil
}

// destination is the header that names the picked endpoints.
const destination = "x-gateway-destination-endpoint"
