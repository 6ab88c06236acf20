package epp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
)

// ServerOptions configure [NewServer]. An empty address means that what it is for
// is not served.
type ServerOptions struct {
	// Picker answers the requests.
	Picker *Picker
	// Wrap, when not nil, is given the picker and returns what answers instead.
	Wrap func(extproc.Picker) extproc.Picker
	// ExtProc configures the ext_proc server; its Metrics and Log are filled in.
	ExtProc extproc.Options
	// GRPCAddr is where Envoy calls, with TLS when TLS is set.
	GRPCAddr string
	TLS      *tls.Config
	// UnixSocket is the path of a socket where Envoy may call without TLS.
	UnixSocket string
	// Services registers what else Envoy calls at GRPCAddr and UnixSocket; nil for
	// nothing. Streams that last must be ended by their own service when Run's context
	// ends, or the drain waits for them.
	Services func(grpc.ServiceRegistrar)
	// HealthAddr serves gRPC health alone; HealthOnGRPC serves it where Envoy
	// calls, too.
	HealthAddr   string
	HealthOnGRPC bool
	// MetricsAddr serves /metrics, /healthz, /readyz, the decisions, and, with
	// Pprof, /debug/pprof.
	MetricsAddr string
	Pprof       bool
	// MaxRecvMsgSize overrides the longest gRPC message accepted, in bytes; 0
	// follows ExtProc.MaxBodyBytes.
	MaxRecvMsgSize int
	// MaxSendMsgSize is the longest gRPC message sent, in bytes; 0 means no bound of
	// its own.
	MaxSendMsgSize int
	// MetricsTLS serves MetricsAddr with TLS; nil without.
	MetricsTLS *tls.Config
	// MetricsAuth, when not nil, is given what MetricsAddr serves and returns what
	// answers instead.
	MetricsAuth func(http.Handler) http.Handler
	// DrainTimeout bounds how long requests under way are waited for at the end.
	DrainTimeout time.Duration
	// Metrics and Explain are what is shown; they may be nil.
	Metrics *metrics.Metrics
	Explain *explain.Ring
	Log     *slog.Logger
}

// Server serves a Picker. It is not ready until SetReady says so.
type Server struct {
	o        ServerOptions
	log      *slog.Logger
	extproc  *extproc.Server
	health   *healthServer
	draining atomic.Bool

	ports     ports    // where Envoy calls for one pool each
	grpc      []served // where Envoy calls
	healthOn  served
	metricsOn net.Listener
	http      *http.Server
}

// served is a gRPC server and its listener.
type served struct {
	server *grpc.Server
	on     net.Listener
}

// NewServer opens the listeners, so that a port in use is known at once. Run
// serves them; Close gives them up without.
func NewServer(o ServerOptions) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New(metrics.Options{})
	}
	s := &Server{o: o, log: o.Log, health: newHealthServer()}
	o.ExtProc.Log = o.Log
	o.ExtProc.Metrics = o.Metrics
	var picker extproc.Picker = &portPicker{o.Picker, &s.ports}
	if o.Wrap != nil {
		picker = o.Wrap(picker)
	}
	s.extproc = extproc.New(picker, o.ExtProc)
	if err := s.listen(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) listen() error {
	o := &s.o
	if o.GRPCAddr != "" {
		l, err := net.Listen("tcp", o.GRPCAddr)
		if err != nil {
			return fmt.Errorf("ext_proc listener: %w", err)
		}
		s.grpc = append(s.grpc, served{s.newGRPC(o.TLS), l})
	}
	if o.UnixSocket != "" {
		l, err := listenUnix(o.UnixSocket)
		if err != nil {
			return fmt.Errorf("ext_proc listener: %w", err)
		}
		s.grpc = append(s.grpc, served{s.newGRPC(nil), l})
	}
	if o.HealthAddr != "" {
		l, err := net.Listen("tcp", o.HealthAddr)
		if err != nil {
			return fmt.Errorf("health listener: %w", err)
		}
		g := grpc.NewServer()
		healthgrpc.RegisterHealthServer(g, s.health)
		s.healthOn = served{g, l}
	}
	if o.MetricsAddr != "" {
		l, err := net.Listen("tcp", o.MetricsAddr)
		if err != nil {
			return fmt.Errorf("metrics listener: %w", err)
		}
		s.metricsOn = l
		handler := s.admin()
		if o.MetricsAuth != nil {
			handler = o.MetricsAuth(handler)
		}
		s.http = &http.Server{
			Handler: handler, TLSConfig: o.MetricsTLS, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
			IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
			ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		}
	}
	return nil
}

// listenUnix listens on a socket that only this user may connect to. A socket
// left behind by a process that is gone is replaced; a file of another kind, or
// a socket that somebody answers on, is not.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("%s: is there and is not a socket", path)
		}
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("%s: another process listens there", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (s *Server) newGRPC(tc *tls.Config) *grpc.Server {
	opts := append(s.extproc.ServerOptions(), grpc.ChainStreamInterceptor(s.count))
	if s.o.MaxRecvMsgSize > 0 {
		opts = append(opts, grpc.MaxRecvMsgSize(s.o.MaxRecvMsgSize))
	}
	if s.o.MaxSendMsgSize > 0 {
		opts = append(opts, grpc.MaxSendMsgSize(s.o.MaxSendMsgSize))
	}
	if tc != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(tc)))
	}
	g := grpc.NewServer(opts...)
	s.extproc.Register(g)
	if s.o.HealthOnGRPC {
		healthgrpc.RegisterHealthServer(g, s.health)
	}
	if s.o.Services != nil {
		s.o.Services(g)
	}
	return g
}

// count counts how ext_proc streams end.
func (s *Server) count(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	err := next(srv, ss)
	if info.FullMethod == "/"+extproc.ServiceName+"/Process" {
		code := status.FromContextError(err).Code()
		if st, ok := status.FromError(err); ok {
			code = st.Code()
		}
		s.o.Metrics.StreamEnded(code.String())
	}
	return err
}

// admin is what the metrics port serves.
func (s *Server) admin() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.o.Metrics.Handler())
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.health.ready() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.Handle("GET "+explain.Path, s.o.Explain.Handler())
	mux.Handle("GET "+explain.Path+"/", s.o.Explain.Handler())
	if s.o.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// SetReady says whether the endpoints are known, and requests can be served.
func (s *Server) SetReady(ready bool) {
	if !s.draining.Load() {
		s.health.set(ready)
	}
}

// Addrs are the addresses listened on, nil where there is none.
func (s *Server) Addrs() (grpcAddr, healthAddr, metricsAddr net.Addr) {
	if s.o.GRPCAddr != "" {
		grpcAddr = s.grpc[0].on.Addr()
	}
	if s.healthOn.on != nil {
		healthAddr = s.healthOn.on.Addr()
	}
	if s.metricsOn != nil {
		metricsAddr = s.metricsOn.Addr()
	}
	return grpcAddr, healthAddr, metricsAddr
}

// Close closes the listeners of a server that was not run.
func (s *Server) Close() error {
	s.closePorts()
	var errs []error
	for _, g := range append(s.grpc, s.healthOn) {
		if g.on != nil {
			errs = append(errs, g.on.Close())
		}
	}
	if s.metricsOn != nil {
		errs = append(errs, s.metricsOn.Close())
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends, then reports not ready, lets the requests under way
// end for at most DrainTimeout, and stops. It returns nil after that, and an error
// when a listener fails.
func (s *Server) Run(ctx context.Context) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	serve := func(what string, f func() error) {
		group.Go(func() error {
			defer stop() // one listener lost is all lost
			if err := f(); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, grpc.ErrServerStopped) {
				return fmt.Errorf("serve %s: %w", what, err)
			}
			return nil
		})
	}
	for _, g := range s.grpc {
		s.log.Info("serving ext_proc", "address", g.on.Addr().String(), "network", g.on.Addr().Network())
		serve("ext_proc", func() error { return g.server.Serve(g.on) })
	}
	if g := s.healthOn; g.server != nil {
		serve("health", func() error { return g.server.Serve(g.on) })
	}
	if s.http != nil {
		serve("metrics", func() error {
			if s.o.MetricsTLS != nil {
				return s.http.ServeTLS(s.metricsOn, "", "")
			}
			return s.http.Serve(s.metricsOn)
		})
	}
	<-serving.Done()
	s.drain()
	return group.Wait()
}

// drain ends the servers in good order.
func (s *Server) drain() {
	s.draining.Store(true)
	s.health.set(false)
	ctx, cancel := context.WithTimeout(context.Background(), s.o.DrainTimeout)
	defer cancel()
	// First go on serving who has not noticed yet; then send them elsewhere.
	soon, cancelSoon := context.WithTimeout(ctx, s.o.DrainTimeout/6)
	defer cancelSoon()
	_ = s.extproc.Drain(soon)
	if s.o.Picker != nil {
		s.o.Picker.Dismiss() // they might wait for longer than the drain lasts
	}
	s.closePorts()
	var group errgroup.Group
	for _, g := range s.grpcServers() {
		group.Go(func() error { return stopGRPC(ctx, g) })
	}
	if err := group.Wait(); err != nil {
		s.log.Warn("requests were still under way at the end of the drain", "drain_timeout", s.o.DrainTimeout, "streams", s.extproc.Active())
	}
	if s.http != nil {
		_ = s.http.Close()
	}
	if s.healthOn.server != nil {
		s.healthOn.server.Stop()
	}
}

// grpcServers are the servers where Envoy calls.
func (s *Server) grpcServers() []*grpc.Server {
	var all []*grpc.Server
	for _, g := range s.grpc {
		all = append(all, g.server)
	}
	s.ports.mu.Lock()
	defer s.ports.mu.Unlock()
	if s.ports.server != nil {
		all = append(all, s.ports.server)
	}
	return all
}

// stopGRPC lets the streams of g end, and cuts them when ctx does.
func stopGRPC(ctx context.Context, g *grpc.Server) error {
	done := make(chan struct{})
	go func() { g.GracefulStop(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		g.Stop()
		<-done
		return ctx.Err()
	}
}
