package replicas

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

const (
	serviceName = "fairway.replicas.v1.Replicas"
	method      = "/" + serviceName + "/Exchange"
)

// codec carries messages that are encoded already: a *[]byte.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("cannot encode a %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*m)}, nil
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("cannot decode a %T", v)
	}
	*m = data.Materialize()
	return nil
}

type exchanger interface {
	exchange(grpc.ServerStream) error
}

func (r *Replicas) newServer() *grpc.Server {
	opts := []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(maxFrame),
		grpc.MaxConcurrentStreams(maxRemotes),
		grpc.ConnectionTimeout(5 * time.Second),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
	}
	if r.o.TLS != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(r.o.TLS.server())))
	}
	s := grpc.NewServer(opts...)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: serviceName,
		HandlerType: (*exchanger)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName:    "Exchange",
			Handler:       func(srv any, ss grpc.ServerStream) error { return srv.(exchanger).exchange(ss) },
			ServerStreams: true,
			ClientStreams: true,
		}},
	}, r)
	return s
}

func receive(ss interface{ RecvMsg(any) error }) ([]byte, error) {
	var m []byte
	err := ss.RecvMsg(&m)
	return m, err
}

// exchange serves another replica's stream.
func (r *Replicas) exchange(ss grpc.ServerStream) error {
	h, err := r.greet(ss)
	if err != nil {
		return err
	}
	if h.id == r.o.ID && h.incarnation == r.o.Incarnation {
		return nil // it is this one, and has learned so
	}
	r.mu.Lock()
	r.sequence++ // any number that no other stream has
	stream := r.sequence
	lowered, ok := r.joinLocked(r.o.Now(), h, stream)
	p := r.picker
	r.mu.Unlock()
	if !ok {
		return status.Error(codes.FailedPrecondition, "a later life of this replica is known, or there are too many replicas")
	}
	r.log.Info("replica shares what it does", "replica", h.id)
	defer r.leave(h.id, stream)
	for _, l := range lowered {
		p.Lowered(l)
	}
	for {
		m, err := receive(ss)
		if err != nil {
			return nil // how it ends makes no difference
		}
		f, err := decodeFrame(m)
		if err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		if !r.apply(h.id, stream, f) {
			return status.Error(codes.Aborted, "the stream no longer counts; connect again")
		}
		out := appendAnswer(nil, &answer{acknowledged: f.sequence})
		if err := ss.SendMsg(&out); err != nil {
			return err
		}
	}
}

// greet reads who calls and says who answers.
func (r *Replicas) greet(ss grpc.ServerStream) (*hello, error) {
	m, err := receive(ss)
	if err != nil {
		return nil, err
	}
	f, err := decodeFrame(m)
	switch {
	case err != nil:
		return nil, status.Error(codes.InvalidArgument, err.Error())
	case f.hello == nil:
		return nil, status.Error(codes.InvalidArgument, "the first message must say hello")
	case f.hello.version != protocolVersion:
		return nil, status.Errorf(codes.Unimplemented, "version %d of the exchange is not known, only %d", f.hello.version, protocolVersion)
	}
	out := appendAnswer(nil, &answer{hello: r.self()})
	if err := ss.SendMsg(&out); err != nil {
		return nil, err
	}
	return f.hello, nil
}

func (r *Replicas) self() *hello {
	return &hello{version: protocolVersion, id: r.o.ID, incarnation: r.o.Incarnation}
}

// errSelf says that an address is this replica's own.
var errSelf = errors.New("this replica's own address")

// dial connects to a replica.
func (r *Replicas) dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(r.o.TLS.client()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{}), grpc.MaxCallRecvMsgSize(64<<10)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
	)
}

// open begins the exchange on a connection.
func (r *Replicas) open(ctx context.Context, c *grpc.ClientConn) (grpc.ClientStream, error) {
	ss, err := c.NewStream(ctx, &grpc.StreamDesc{StreamName: "Exchange", ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		return nil, err
	}
	out := appendHello(nil, r.self())
	if err := ss.SendMsg(&out); err != nil {
		return nil, err
	}
	m, err := receive(ss)
	if err != nil {
		return nil, err
	}
	a, err := decodeAnswer(m)
	switch {
	case err != nil:
		return nil, err
	case a.hello == nil:
		return nil, fmt.Errorf("%w: no hello in the first answer", errWire)
	case a.hello.id == r.o.ID && a.hello.incarnation == r.o.Incarnation:
		return nil, errSelf
	}
	return ss, nil
}
