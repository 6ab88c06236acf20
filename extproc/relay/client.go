package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/fairway-ai/fairway/extproc"
)

const method = "/" + extproc.ServiceName + "/Process"

// client is the connection to one picker, with what is known about it. Pools share
// it.
type client struct {
	address string
	o       *Options
	// conn is replaced when it turns out to lead to somebody else.
	conn    atomic.Pointer[grpc.ClientConn]
	creds   credentials.TransportCredentials
	breaker *breaker
	logs    limiter
	// ctx ends when the client is closed.
	ctx    context.Context
	cancel context.CancelCauseFunc

	pools int // that name it; guarded by the registry's mu

	streams atomic.Int64
	held    atomic.Int64
	habit   habit
	// redialing says that a request asked for a dial just now.
	redialing atomic.Bool

	mu      sync.Mutex
	retired bool
}

var errClosed = errors.New("the gateway no longer uses this picker")

func newClient(address string, t *TLS, o *Options) (*client, error) {
	creds, err := t.credentials()
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	c := &client{address: address, o: o, creds: creds, breaker: newBreaker(o.Now)}
	c.logs.now = o.Now
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	conn, err := c.connect()
	if err != nil {
		return nil, err
	}
	c.conn.Store(conn)
	return c, nil
}

// connect makes a connection and begins to establish it.
func (c *client) connect() (*grpc.ClientConn, error) {
	conn, err := grpc.NewClient(target(c.address),
		grpc.WithTransportCredentials(c.creds.Clone()),
		grpc.WithContextDialer(c.dial),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			// gRPC servers hang up on who pings more than once in five minutes. The
			// timeout also bounds how long data may go unacknowledged by the host.
			Time: 6 * time.Minute, Timeout: 10 * time.Second,
		}),
		grpc.WithIdleTimeout(0),
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithInitialWindowSize(1<<20),
		grpc.WithInitialConnWindowSize(16<<20),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(codec{}),
			grpc.MaxCallRecvMsgSize(int(min(c.o.MaxBodyBytes+(1<<20), 1<<30))),
			grpc.MaxCallSendMsgSize(1<<30),
		))
	if err != nil {
		return nil, err
	}
	conn.Connect()
	return conn, nil
}

// misled replaces a connection that led to a server which is no picker: a Service's
// address may, before the cluster has programmed it, lead anywhere, and the connection
// would stay there. Other requests on it cannot have done better.
func (c *client) misled(old *grpc.ClientConn) {
	conn, err := c.connect()
	if err != nil {
		return // what it is made of has not changed; the old one will have to do
	}
	if !c.conn.CompareAndSwap(old, conn) {
		_ = conn.Close() // somebody else was faster
		return
	}
	_ = old.Close()
	if c.ctx.Err() != nil { // closed meanwhile, and maybe the old one instead
		_ = conn.Close()
	}
}

// enter takes a place for a request, or says why there is none.
func (c *client) enter() (probe bool, r Reason) {
	if c.streams.Add(1) > int64(c.o.MaxStreams) {
		c.leave()
		return false, ReasonOverload
	}
	probe, ok := c.breaker.allow()
	if !ok {
		c.leave()
		return false, ReasonBroken
	}
	return probe, ""
}

// leave gives the place back.
func (c *client) leave() {
	if c.streams.Add(-1) > 0 {
		return
	}
	c.mu.Lock()
	retired := c.retired
	c.mu.Unlock()
	if retired && c.streams.Load() == 0 {
		c.close()
	}
}

// retire closes the client as soon as no request uses it.
func (c *client) retire() {
	c.mu.Lock()
	c.retired = true
	c.mu.Unlock()
	if c.streams.Load() == 0 {
		c.close()
	}
}

func (c *client) close() {
	c.cancel(errClosed)
	_ = c.conn.Load().Close() // a second time, which only says so
}

// hold counts n more bytes kept, or reports false when they are too many.
func (c *client) hold(n int64) bool {
	if c.held.Add(n) <= c.o.MaxHeldBytes {
		return true
	}
	c.held.Add(-n)
	return false
}
