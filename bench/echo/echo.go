package echo

import (
	"fmt"
	"io"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// destinationHeader is the one header that is set, to the same value always.
const destinationHeader = "x-gateway-destination-endpoint"

// Generated is a server that uses the generated protobuf code, as most do.
type Generated struct {
	extprocv3.UnimplementedExternalProcessorServer
}

// Register adds the server to s.
func (g *Generated) Register(s grpc.ServiceRegistrar) {
	extprocv3.RegisterExternalProcessorServer(s, g)
}

// Process answers headers with a header and bodies with nothing or, in full
// duplex, with themselves.
func (*Generated) Process(s extprocv3.ExternalProcessor_ProcessServer) error {
	duplex := false
	for {
		m, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if c := m.GetProtocolConfig(); c != nil {
			duplex = c.GetRequestBodyMode() == modev3.ProcessingMode_FULL_DUPLEX_STREAMED
		}
		if err := s.Send(reply(m, duplex)); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
}

func reply(m *extprocv3.ProcessingRequest, duplex bool) *extprocv3.ProcessingResponse {
	body := func(b *extprocv3.HttpBody) *extprocv3.BodyResponse {
		if !duplex {
			return &extprocv3.BodyResponse{}
		}
		return &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{
			Mutation: &extprocv3.BodyMutation_StreamedResponse{StreamedResponse: &extprocv3.StreamedBodyResponse{
				Body: b.GetBody(), EndOfStream: b.GetEndOfStream(),
			}},
		}}}
	}
	r := &extprocv3.ProcessingResponse{}
	switch q := m.GetRequest().(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		r.Response = &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{
			Response: &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{{
				Header: &corev3.HeaderValue{Key: destinationHeader, RawValue: []byte("127.0.0.1:1")},
			}}}},
		}}
	case *extprocv3.ProcessingRequest_RequestBody:
		r.Response = &extprocv3.ProcessingResponse_RequestBody{RequestBody: body(q.RequestBody)}
	case *extprocv3.ProcessingRequest_RequestTrailers:
		r.Response = &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{}}
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		r.Response = &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}}
	case *extprocv3.ProcessingRequest_ResponseBody:
		r.Response = &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: body(q.ResponseBody)}
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		r.Response = &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}
	}
	return r
}

// Raw is a server that does not decode at all: it answers each message by its
// first field's number, and in full duplex bodies with
// the bytes of the message itself.
type Raw struct {
	// Duplex makes it send bodies back.
	Duplex bool
}

// Options are the options that Raw's grpc.Server needs.
func Options() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ForceServerCodecV2(Codec{}), grpc.MaxRecvMsgSize(64 << 20)}
}

// Register adds the server to s.
func (r *Raw) Register(s grpc.ServiceRegistrar) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "envoy.service.ext_proc.v3.ExternalProcessor",
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName:    "Process",
			Handler:       func(_ any, ss grpc.ServerStream) error { return r.process(ss) },
			ServerStreams: true,
			ClientStreams: true,
		}},
	}, r)
}

func (r *Raw) process(ss grpc.ServerStream) error {
	var in, out Frame
	for {
		if err := ss.RecvMsg(&in); err != nil {
			if err == io.EOF {
				return nil
			}
			return fmt.Errorf("receive: %w", err)
		}
		field := in.First() >> 3
		switch {
		case r.Duplex && (field == 4 || field == 5):
			// The messages nest alike up to the tags, so a body comes back as it is
			// behind the same number of bytes: good enough for a measurement.
			in.Bufs.Ref()
			out.Bufs = in.Bufs
		default:
			out.Bufs = mem.BufferSlice{mem.SliceBuffer{(field-1)<<3 | 2, 0}}
		}
		if err := ss.SendMsg(&out); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		in.Free()
	}
}

// Frame is an undecoded message.
type Frame struct{ Bufs mem.BufferSlice }

// First is the message's first byte, a protobuf tag; 0 when it is empty.
func (f *Frame) First() byte {
	for _, b := range f.Bufs {
		if d := b.ReadOnlyData(); len(d) > 0 {
			return d[0]
		}
	}
	return 0
}

// Free gives the buffers back.
func (f *Frame) Free() {
	f.Bufs.Free()
	f.Bufs = nil
}

// Codec hands Frames through.
type Codec struct{}

// Name implements encoding.CodecV2.
func (Codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2. The frame's buffers are handed on.
func (Codec) Marshal(v any) (mem.BufferSlice, error) {
	f, ok := v.(*Frame)
	if !ok {
		return nil, fmt.Errorf("cannot marshal %T: only *echo.Frame", v)
	}
	bufs := f.Bufs
	f.Bufs = nil
	return bufs, nil
}

// Unmarshal implements encoding.CodecV2.
func (Codec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*Frame)
	if !ok {
		return fmt.Errorf("cannot unmarshal into %T: only *echo.Frame", v)
	}
	f.Free()
	data.Ref()
	f.Bufs = data
	return nil
}
