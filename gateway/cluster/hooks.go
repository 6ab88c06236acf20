package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/fairway-ai/fairway/gateway/certs"
	"github.com/fairway-ai/fairway/gateway/envoygateway"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// hookServer is what Envoy Gateway calls.
type hookServer struct {
	server *grpc.Server
	on     net.Listener
}

func (g *gateway) newHooks() (*hookServer, error) {
	o := &g.o
	names := certs.ServerNames(o.Service, o.Namespace, o.ClusterDomain)
	name := names[len(names)-1] // the whole one
	options := envoygateway.Options{
		Reader: g.manager.GetClient(), Live: g.manager.GetAPIReader(),
		EDS:    net.JoinHostPort(name, strconv.Itoa(o.GRPCPort)),
		Limits: xds.Options{MaxBodyBytes: o.MaxBodyBytes, MaxMessageTimeout: o.longestWait(), MetadataNamespaces: o.MetadataNamespaces, SystemCA: o.Egress.ProviderCA},
		Log:    o.Log, Metrics: g.metrics.Registry(),
	}
	if g.providers != nil {
		options.AI = known{g.providers}
	}
	serving := envoygateway.ServerOptions()
	if g.certs != nil {
		options.CA, options.ServerName = g.certs.CA, name
		serving = append(serving, grpc.Creds(credentials.NewTLS(g.certs.TLSConfig())))
	}
	hooks, err := envoygateway.New(options)
	if err != nil {
		return nil, err
	}
	on, err := net.Listen("tcp", listenAddr(o.ExtensionPort))
	if err != nil {
		return nil, fmt.Errorf("extension listener: %w", err)
	}
	h := &hookServer{server: grpc.NewServer(serving...), on: on}
	hooks.Register(h.server)
	return h, nil
}

// run serves until ctx ends, and what is being translated then until around does.
func (h *hookServer) run(ctx, around context.Context) error {
	context.AfterFunc(ctx, h.server.GracefulStop)
	context.AfterFunc(around, h.server.Stop)
	if err := h.server.Serve(h.on); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve: %w", err)
	}
	// The parts around live as long as the last of this one.
	<-around.Done()
	return nil
}

func (h *hookServer) close() error { return h.on.Close() }

func listenAddr(port int) string {
	if port == 0 {
		return ""
	}
	return ":" + strconv.Itoa(port)
}
