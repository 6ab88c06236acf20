package eds

import (
	"cmp"
	"context"
	"sync"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Options configure [New]. The zero value of a field means its default.
type Options struct {
	// MaxUnknown is how many resources that are not known a stream may ask for.
	// Default 4096.
	MaxUnknown int
	// MaxNameBytes is the longest name of a resource. Default 512.
	MaxNameBytes int
}

// Server is Envoy's endpoint discovery service. Make it with [New]. It is safe for
// concurrent use.
type Server struct {
	servicev3.UnimplementedEndpointDiscoveryServiceServer

	linear *cache.LinearCache
	sotw   sotw.Server
	delta  delta.Server

	mu    sync.Mutex // orders Set and Delete
	known *sync.Map  // name → *endpointv3.ClusterLoadAssignment

	ready     chan struct{}
	readyOnce sync.Once
	closed    context.Context
	close     context.CancelFunc
}

// New makes a server that knows nothing and answers nobody before [Server.Ready].
func New(o Options) *Server {
	s := &Server{
		linear: cache.NewLinearCache(resource.EndpointType),
		known:  &sync.Map{},
		ready:  make(chan struct{}),
	}
	s.closed, s.close = context.WithCancel(context.Background())
	watcher := &patient{
		LinearCache:  s.linear,
		known:        s.known,
		maxUnknown:   cmp.Or(o.MaxUnknown, 4096),
		maxNameBytes: cmp.Or(o.MaxNameBytes, 512),
	}
	s.sotw = sotw.NewServer(s.closed, watcher, nil)
	s.delta = delta.NewServer(s.closed, watcher, nil)
	return s
}

// Register adds the service to a gRPC server, which must bound the size of messages
// and decide who may connect.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	servicev3.RegisterEndpointDiscoveryServiceServer(r, s)
}

// Ready answers streams from now on: what was Set so far is complete.
func (s *Server) Ready() {
	s.readyOnce.Do(func() { close(s.ready) })
}

// Close ends all streams, so that a gRPC server can stop gracefully and Envoy goes
// to another replica.
func (s *Server) Close() { s.close() }

// Set makes the assignment of a cluster known, under the cluster's name, and sends
// it to everybody who asked for it unless it is what it was. The assignment must not
// be changed afterwards.
func (s *Server) Set(name string, assignment *endpointv3.ClusterLoadAssignment) {
	if assignment == nil {
		return
	}
	if assignment.GetClusterName() != name {
		assignment = proto.CloneOf(assignment)
		assignment.ClusterName = name
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.known.Load(name); ok && proto.Equal(old.(*endpointv3.ClusterLoadAssignment), assignment) {
		return
	}
	// It fails only on nil and on what cannot be marshalled.
	_ = s.linear.UpdateResource(name, assignment)
	// Known is only what the cache has already; see [remembering].
	s.known.Store(name, assignment)
}

// Delete forgets a cluster that is gone. Envoy keeps the endpoints for as long as it
// has the cluster.
func (s *Server) Delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.known.LoadAndDelete(name); ok {
		_ = s.linear.DeleteResource(name)
	}
}

// StreamEndpoints implements the state-of-the-world form.
func (s *Server) StreamEndpoints(stream servicev3.EndpointDiscoveryService_StreamEndpointsServer) error {
	if err := s.wait(stream.Context()); err != nil {
		return err
	}
	return s.sotw.StreamHandler(stream, resource.EndpointType)
}

// DeltaEndpoints implements the incremental form.
func (s *Server) DeltaEndpoints(stream servicev3.EndpointDiscoveryService_DeltaEndpointsServer) error {
	if err := s.wait(stream.Context()); err != nil {
		return err
	}
	return s.delta.DeltaStreamHandler(stream, resource.EndpointType)
}

func (s *Server) wait(stream context.Context) error {
	select {
	case <-s.ready:
		return nil
	case <-s.closed.Done():
		return status.Error(codes.Unavailable, "the replica is going away")
	case <-stream.Done():
		return status.FromContextError(stream.Err()).Err()
	}
}
