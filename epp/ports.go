package epp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"github.com/fairway-ai/fairway/extproc"
)

// ports are the ports that say which pool a request is for.
type ports struct {
	// pools is the pool of each port, "" where the request must say, too; nil while
	// there are no such ports. Ports that were closed stay in it: connections to
	// them may live on, and what they carry is for a pool that is gone.
	pools atomic.Pointer[map[int]string]

	mu     sync.Mutex
	server *grpc.Server // behind them all
	open   map[int]net.Listener
	wanted map[int]string
	failed map[int]string // what was logged of ports that could not be opened
	retry  *time.Timer    // nil when all are open
	closed bool
}

// portRetry is the time between two attempts to open a port that is in use.
const portRetry = 5 * time.Second

// SetPorts makes the server listen on these TCP ports, beside GRPCAddr and with
// the same TLS, and pick from a port's pool when the gateway does not name one.
// Where a port has no pool, "", the request's model decides, as at GRPCAddr. If
// GRPCAddr's port is among them, it gets a pool. Ports that are no longer in the
// list are closed; requests under way there end as they would have. A port that
// cannot be opened is logged and tried again. It must not be called before
// NewServer returned, and does nothing once the server drains.
func (s *Server) SetPorts(pools map[int]string) {
	p := &s.ports
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.wanted == nil && len(pools) == 0 {
		return
	}
	p.wanted = maps.Clone(pools)
	all := maps.Clone(pools)
	if old := p.pools.Load(); old != nil {
		for port, name := range *old {
			if _, still := pools[port]; !still && port != s.mainPort() {
				all[port] = name
			}
		}
	}
	p.pools.Store(&all)
	s.openPorts()
}

// mainPort is GRPCAddr's, 0 when there is none.
func (s *Server) mainPort() int {
	if s.o.GRPCAddr == "" {
		return 0
	}
	if a, ok := s.grpc[0].on.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// openPorts opens and closes what differs from what is wanted. The caller holds
// ports.mu.
func (s *Server) openPorts() {
	p := &s.ports
	if p.server == nil {
		// One server behind all ports, of its own so that it can be begun at any time.
		p.server, p.open, p.failed = s.newGRPC(s.o.TLS), map[int]net.Listener{}, map[int]string{}
	}
	for port, l := range p.open {
		if _, wanted := p.wanted[port]; !wanted {
			_ = l.Close()
			delete(p.open, port)
			s.log.Info("no longer serving ext_proc", "port", port)
		}
	}
	maps.DeleteFunc(p.failed, func(port int, _ string) bool { _, wanted := p.wanted[port]; return !wanted })
	for _, port := range slices.Sorted(maps.Keys(p.wanted)) {
		if p.open[port] != nil || port == s.mainPort() {
			continue
		}
		if err := s.openPort(port); err != nil {
			if p.failed[port] != err.Error() {
				s.log.Error("a pool's port cannot be served; it will be tried again", "port", port, "pool", p.wanted[port], "error", err)
			}
			p.failed[port] = err.Error()
			continue
		}
		delete(p.failed, port)
		s.log.Info("serving ext_proc", "port", port, "pool", p.wanted[port])
	}
	if len(p.failed) > 0 && p.retry == nil {
		p.retry = time.AfterFunc(portRetry, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.retry = nil; !p.closed {
				s.openPorts()
			}
		})
	}
}

func (s *Server) openPort(port int) error {
	if port < 1 || port > 65535 {
		return errors.New("is no port")
	}
	host := ""
	if s.o.GRPCAddr != "" {
		h, _, err := net.SplitHostPort(s.o.GRPCAddr)
		if err != nil {
			return err
		}
		host = h
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return fmt.Errorf("ext_proc listener: %w", err)
	}
	p := &s.ports
	p.open[port] = l
	go func() {
		err := p.server.Serve(l)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.open[port] == l { // it was not closed on purpose
			delete(p.open, port)
			s.log.Error("a pool's port failed", "port", port, "error", err)
		}
	}()
	return nil
}

// closePorts begins to end what SetPorts began, and lets no more begin.
func (s *Server) closePorts() {
	p := &s.ports
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.retry != nil {
		p.retry.Stop()
	}
	for port, l := range p.open {
		delete(p.open, port)
		_ = l.Close()
	}
}

// portPicker names the pool of a request that came in through a pool's port.
type portPicker struct {
	extproc.Picker
	ports *ports
}

// Pick implements extproc.Picker.
func (p *portPicker) Pick(ctx context.Context, req *extproc.Request) (extproc.Pick, error) {
	if pools := p.ports.pools.Load(); pools != nil && req.Pool == "" {
		if from, ok := peer.FromContext(ctx); ok && from.LocalAddr != nil {
			if a, ok := from.LocalAddr.(*net.TCPAddr); ok {
				req.Pool = (*pools)[a.Port]
			}
		}
	}
	return p.Picker.Pick(ctx, req)
}
