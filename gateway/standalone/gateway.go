package standalone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// Options configure a [Gateway].
type Options struct {
	// XDS is what Envoy is configured from.
	XDS xds.Options
	// Routing is what [Gateway.Update] serves besides the pools at the start;
	// [Gateway.Route] changes it.
	Routing xds.Routing
	// Envoy is the path of the binary; see FindEnvoy.
	Envoy string
	// Concurrency is Envoy's number of worker threads; 0 means one per core.
	Concurrency int
	// DrainTimeout bounds how long requests under way are waited for at the end.
	DrainTimeout time.Duration
	// Stdout gets the access log; nil means os.Stdout.
	Stdout io.Writer
	// Log gets Envoy's log and what happens to its process.
	Log *slog.Logger
}

// Gateway is a running Envoy and its configuration.
type Gateway struct {
	o       Options
	dir     string
	control *control
	process *process
	admin   *admin
	version string

	ended sync.WaitGroup
	stop  context.CancelFunc
	once  sync.Once

	mu      sync.Mutex
	routing xds.Routing // guarded by mu
}

// Start starts Envoy with the given pools and waits until it listens. On error
// nothing is left behind.
func Start(ctx context.Context, o Options, pools []xds.Pool) (_ *Gateway, err error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	if o.XDS.SystemCA == "" {
		o.XDS.SystemCA = systemCA()
	}
	if err := o.XDS.Validate(); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	if err := portFree(o.XDS.Address); err != nil {
		return nil, err
	}
	version, err := checkVersion(ctx, o.Envoy)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "fairway-")
	if err != nil {
		return nil, fmt.Errorf("a folder for Envoy's files: %w", err)
	}
	// The gateway outlives ctx until it has drained.
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	g := &Gateway{o: o, routing: o.Routing, dir: dir, version: version, stop: cancel, control: newControl(background, o.Log)}
	defer func() {
		if err != nil {
			g.Kill()
		}
	}()
	controlSocket, adminSocket := filepath.Join(dir, "xds.sock"), filepath.Join(dir, "admin.sock")
	if err := g.Update(ctx, pools); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", controlSocket)
	if err != nil {
		return nil, fmt.Errorf("xDS server: %w", err)
	}
	g.ended.Go(func() {
		if err := g.control.serve(l); err != nil {
			o.Log.Error("the xDS server ended", "error", err)
		}
	})
	config, err := protojson.MarshalOptions{Multiline: true}.Marshal(xds.Bootstrap(controlSocket, adminSocket))
	if err != nil {
		return nil, fmt.Errorf("envoy's bootstrap: %w", err)
	}
	bootstrap := filepath.Join(dir, "bootstrap.json")
	if err := os.WriteFile(bootstrap, config, 0o600); err != nil {
		return nil, fmt.Errorf("envoy's bootstrap file: %w", err)
	}
	g.admin = newAdmin(adminSocket)
	g.process = &process{path: o.Envoy, bootstrap: bootstrap, concurrency: o.Concurrency, stdout: o.Stdout, log: o.Log}
	g.ended.Go(func() {
		if err := g.process.run(background); err != nil {
			o.Log.Error("Envoy's supervisor ended", "error", err)
		}
	})
	if _, err := g.wait(ctx, func() error { return errors.Join(g.process.failure(), g.control.refused()) }); err != nil {
		return nil, err
	}
	return g, nil
}

// portFree tells early, and in our own words, that somebody else has the port.
func portFree(a netip.AddrPort) error {
	if a.Port() == 0 {
		return nil
	}
	l, err := net.Listen("tcp", a.String())
	if err != nil {
		return fmt.Errorf("%w: is another program using the port? Choose another with --listen", err)
	}
	return l.Close()
}

// readyTimeout bounds how long Envoy may take to start.
const readyTimeout = 60 * time.Second

// Ready waits until Envoy listens and returns the listener's address.
func (g *Gateway) Ready(ctx context.Context) (netip.AddrPort, error) {
	return g.wait(ctx, func() error { return nil })
}

// wait waits until Envoy listens, or hopeless returns why it never will.
func (g *Gateway) wait(ctx context.Context, hopeless func() error) (netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		addr, err := g.admin.listening(ctx)
		if err == nil {
			return addr, nil
		}
		if why := hopeless(); why != nil {
			return addr, fmt.Errorf("envoy did not start: %w", why)
		}
		select {
		case <-ctx.Done():
			return addr, fmt.Errorf("envoy did not start listening: %w", errors.Join(ctx.Err(), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// EnvoyVersion is the version of the binary that runs.
func (g *Gateway) EnvoyVersion() string { return g.version }

// EnvoyPID is the ID of Envoy's process, 0 while there is none.
func (g *Gateway) EnvoyPID() int { return g.process.pid() }

// Update changes the pools that Envoy serves. On error the old configuration stays.
func (g *Gateway) Update(ctx context.Context, pools []xds.Pool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.update(ctx, pools, g.routing)
}

// Route is Update that changes the rules and providers, too.
func (g *Gateway) Route(ctx context.Context, pools []xds.Pool, r xds.Routing) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.update(ctx, pools, r); err != nil {
		return err
	}
	g.routing = r
	return nil
}

func (g *Gateway) update(ctx context.Context, pools []xds.Pool, r xds.Routing) error {
	all, err := xds.RoutedResources(g.o.XDS, pools, r)
	if err != nil {
		return err
	}
	return g.control.update(ctx, all)
}

// Drain stops accepting requests, waits for those under way for at most the drain
// timeout or until ctx ends, and ends Envoy.
func (g *Gateway) Drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, g.o.DrainTimeout)
	defer cancel()
	if err := g.admin.drain(ctx); err != nil {
		g.o.Log.Debug("draining", "error", err)
	}
	for ctx.Err() == nil {
		n, err := g.admin.active(ctx)
		if err != nil || n == 0 {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	g.once.Do(func() {
		g.process.stop()
		g.cleanUp()
	})
}

// Kill ends Envoy at once.
func (g *Gateway) Kill() {
	g.once.Do(func() {
		if g.process != nil {
			g.process.kill()
		}
		g.cleanUp()
	})
}

func (g *Gateway) cleanUp() {
	g.stop()
	g.control.server.Stop()
	g.ended.Wait()
	if err := os.RemoveAll(g.dir); err != nil {
		g.o.Log.Warn("Envoy's files were left behind", "error", err)
	}
}
