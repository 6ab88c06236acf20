package extproc

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/fairway-ai/fairway/extproc/observe"
	"github.com/fairway-ai/fairway/extproc/scan"
)

// ServiceName is the gRPC service, also the name to report its health under.
const ServiceName = "envoy.service.ext_proc.v3.ExternalProcessor"

const (
	// DefaultMaxBodyBytes is Options.MaxBodyBytes when zero.
	DefaultMaxBodyBytes = 16 << 20
	// DefaultMaxHeldBytes is Options.MaxHeldBytes when zero.
	DefaultMaxHeldBytes = 1 << 30
)

// Options are a Server's settings; the zero value is a good one.
type Options struct {
	// MaxBodyBytes is the longest request body that is read, in bytes; a longer
	// one is answered 413. Bodies of paths that are no AI API are not read and
	// have no limit.
	MaxBodyBytes int64
	// MaxHeldBytes bounds the request bodies held at one time by all streams with
	// full duplex bodies, in bytes; beyond it requests are answered 503.
	MaxHeldBytes int64
	// Now is the clock, time.Now when nil.
	Now func() time.Time
	// NewID makes request IDs, random UUIDs when nil.
	NewID func() string
	// Log receives what an operator should know, slog.Default when nil.
	Log *slog.Logger
	// Metrics is told about streams; nil for nobody.
	Metrics Metrics
	// Scan configures the body scanners.
	Scan scan.Options
	// Foreign knows the pools that pickers of somebody else answer for, instead of
	// the server's own; nil when there are none.
	Foreign Foreign
}

// Metrics is told about streams. Its methods are called concurrently.
type Metrics interface {
	// StreamOpened reports a new stream, which is one request.
	StreamOpened()
	// StreamClosed reports a stream's end and how long it was open.
	StreamClosed(d time.Duration)
	// Answered reports a request answered here instead of by a model server.
	Answered(status int)
}

type noMetrics struct{}

func (noMetrics) StreamOpened()              {}
func (noMetrics) StreamClosed(time.Duration) {}
func (noMetrics) Answered(int)               {}

// Server is the ext_proc server. Make one with New, add ServerOptions to the
// grpc.Server and Register it there.
type Server struct {
	picker Picker
	opts   Options

	held         atomic.Int64 // bytes of request bodies held now
	warnStreamed sync.Once

	answers   answerPool
	streams   sync.Pool
	scanners  sync.Pool
	observers sync.Pool

	active atomic.Int64 // open streams
	waited atomic.Bool  // somebody waits for idle
	mu     sync.Mutex
	idle   chan struct{} // closed when active falls to 0; nil when nobody waits
}

// New returns a server that asks picker.
func New(picker Picker, opts Options) *Server {
	if opts.MaxBodyBytes <= 0 {
		opts.MaxBodyBytes = DefaultMaxBodyBytes
	}
	if opts.MaxHeldBytes <= 0 {
		opts.MaxHeldBytes = DefaultMaxHeldBytes
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.NewID == nil {
		opts.NewID = uuid.NewString
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.Metrics == nil {
		opts.Metrics = noMetrics{}
	}
	s := &Server{picker: picker, opts: opts}
	s.streams.New = func() any { return newStream(s) }
	s.scanners.New = func() any { return scan.New(opts.Scan) }
	s.observers.New = func() any { return new(observe.Observer) }
	return s
}

// ServerOptions returns the options that the grpc.Server needs: the codec, which
// leaves other services' messages to the standard one, and limits and windows
// that fit bodies.
func (s *Server) ServerOptions() []grpc.ServerOption {
	// A buffered body arrives in one message. Above twice the body limit the
	// stream fails; up to there, the client gets a 413 in its schema.
	maxMessage := min(2*s.opts.MaxBodyBytes+(1<<20), math.MaxInt32)
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(int(maxMessage)),
		// One body fits a stream's window, so that no body waits for an update.
		grpc.InitialWindowSize(1 << 20),
		grpc.InitialConnWindowSize(16 << 20),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		// Notice a proxy that vanished without a word, so that its requests end.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
	}
}

// Register adds the service to r, a grpc.Server made with ServerOptions.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: ServiceName,
		HandlerType: (*processor)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName:    "Process",
			Handler:       func(srv any, ss grpc.ServerStream) error { return srv.(processor).process(ss) },
			ServerStreams: true,
			ClientStreams: true,
		}},
		Metadata: "envoy/service/ext_proc/v3/external_processor.proto",
	}, s)
}

type processor interface {
	process(grpc.ServerStream) error
}

// Active returns the number of open streams.
func (s *Server) Active() int { return int(s.active.Load()) }

// Drain waits until no stream is open, or ctx ends, whose error it returns.
// Streams that open meanwhile are served: a proxy that has not noticed yet would
// otherwise fail requests. Report the service NOT_SERVING before, and stop the
// grpc.Server after.
func (s *Server) Drain(ctx context.Context) error {
	for {
		idle := s.untilIdle()
		if s.active.Load() == 0 { // looked at after whoever ends a stream can see waited
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// untilIdle returns what is closed when active falls to 0.
func (s *Server) untilIdle() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle == nil {
		s.idle = make(chan struct{})
		s.waited.Store(true)
	}
	return s.idle
}

func (s *Server) opened() {
	s.active.Add(1)
	s.opts.Metrics.StreamOpened()
}

func (s *Server) closed(d time.Duration) {
	if s.active.Add(-1) == 0 && s.waited.Load() {
		s.mu.Lock()
		if s.idle != nil {
			close(s.idle)
			s.idle = nil
			s.waited.Store(false)
		}
		s.mu.Unlock()
	}
	s.opts.Metrics.StreamClosed(d)
}
