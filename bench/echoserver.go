package bench

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"

	"github.com/fairway-ai/fairway/bench/echo"
)

// The kinds of [ServeEcho].
const (
	EchoRaw       = "raw codec"
	EchoGenerated = "generated code"
)

// EchoKinds are all of them.
func EchoKinds() []string { return []string{EchoRaw, EchoGenerated} }

// ServeEcho serves an ext_proc server that only answers on a unix socket, until
// ctx ends. duplex makes EchoRaw send request bodies back.
func ServeEcho(ctx context.Context, kind, socket string, duplex bool) error {
	var g *grpc.Server
	switch kind {
	case EchoRaw:
		g = grpc.NewServer(append(echo.Options(), windows()...)...)
		(&echo.Raw{Duplex: duplex}).Register(g)
	case EchoGenerated:
		g = grpc.NewServer(append(windows(), grpc.MaxRecvMsgSize(64<<20))...)
		(&echo.Generated{}).Register(g)
	default:
		return fmt.Errorf("kind %q: must be one of %q", kind, EchoKinds())
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return fmt.Errorf("echo server: %w", err)
	}
	stop := context.AfterFunc(ctx, g.Stop)
	defer stop()
	if err := g.Serve(l); err != nil {
		return fmt.Errorf("echo server: %w", err)
	}
	return nil
}

// windows are the picker's, so that this is not what is compared.
func windows() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.InitialWindowSize(1 << 20), grpc.InitialConnWindowSize(16 << 20)}
}
