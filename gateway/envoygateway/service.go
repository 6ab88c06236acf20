package envoygateway

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	// Registers the standard codec that ours falls back to.
	_ "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

const (
	serviceName = "envoygateway.extension.EnvoyGatewayExtension"
	// maxMessage bounds what Envoy Gateway may send, in bytes. Its own limit,
	// maxMessageSize, must be set as high.
	maxMessage = 256 << 20
)

// ServerOptions are what a gRPC server needs to serve [Server.Register]. Other
// services may run on it, health checks for one.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto")}),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
	}
}

// Register adds Envoy Gateway's extension service to a gRPC server that was made
// with [ServerOptions].
func (s *Server) Register(r grpc.ServiceRegistrar) {
	methods := []grpc.MethodDesc{{MethodName: "PostTranslateModify", Handler: unary("PostTranslateModify", (*Server).translateHook)}}
	for _, name := range []string{
		"PostRouteModify", "PostVirtualHostModify", "PostHTTPListenerModify", "PostClusterModify", "PostEndpointsModify",
	} {
		methods = append(methods, grpc.MethodDesc{MethodName: name, Handler: unary(name, unmodified)})
	}
	r.RegisterService(&grpc.ServiceDesc{ServiceName: serviceName, HandlerType: (*any)(nil), Methods: methods}, s)
}

// unmodified answers a hook that is not ours: a response without a resource means
// that nothing is changed.
func unmodified(*Server, context.Context, *message) (*message, error) { return &message{}, nil }

func unary(name string, f func(*Server, context.Context, *message) (*message, error)) grpc.MethodHandler {
	return func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
		in := new(message)
		if err := decode(in); err != nil {
			return nil, err
		}
		call := func(ctx context.Context, in any) (any, error) { return f(srv.(*Server), ctx, in.(*message)) }
		if interceptor == nil {
			return call(ctx, in)
		}
		return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/" + serviceName + "/" + name}, call)
	}
}

// message is a request or response in its encoding.
type message struct{ data []byte }

// codec is gRPC's proto codec with a way around it for our own messages.
type codec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*message); ok {
		return mem.BufferSlice{mem.SliceBuffer(m.data)}, nil
	}
	b, err := c.CodecV2.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b, nil
}

// Unmarshal implements encoding.CodecV2. gRPC takes its buffers back, so the message
// gets a copy.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if m, ok := v.(*message); ok {
		m.data = data.Materialize()
		return nil
	}
	if err := c.CodecV2.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}
