package standalone

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// control is the xDS server: one snapshot for one Envoy.
type control struct {
	log    *slog.Logger
	cache  cache.SnapshotCache
	server *grpc.Server

	mu      sync.Mutex
	last    string // version of everything, guarded by mu
	refusal error  // guarded by mu
}

func newControl(ctx context.Context, log *slog.Logger) *control {
	c := &control{log: log, cache: cache.NewSnapshotCache(true, cache.IDHash{}, cacheLog{log})}
	c.server = grpc.NewServer(grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}))
	// Ordered: clusters arrive before the endpoints and routes that need them.
	discovery.RegisterAggregatedDiscoveryServiceServer(c.server,
		server.NewServer(ctx, c.cache, server.CallbackFuncs{StreamRequestFunc: c.requested}, sotw.WithOrderedADS()))
	return c
}

// requested notes what Envoy says of the configuration it has.
func (c *control) requested(_ int64, r *discovery.DiscoveryRequest) error {
	if r.ErrorDetail == nil {
		return nil
	}
	err := fmt.Errorf("envoy refused its configuration (%s): %s", r.TypeUrl, r.ErrorDetail.Message)
	c.log.Error(err.Error())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusal = err
	return nil
}

// refused is the last configuration error that Envoy reported, or nil.
func (c *control) refused() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refusal
}

// serve answers until the server is stopped.
func (c *control) serve(l net.Listener) error {
	if err := c.server.Serve(l); err != nil {
		return fmt.Errorf("xDS server: %w", err)
	}
	return nil
}

// update publishes the resources, each type under a version of its own, so that
// Envoy is sent only what has changed.
func (c *control) update(ctx context.Context, resources map[resource.Type][]types.Resource) error {
	snap := new(cache.Snapshot)
	all := ""
	versions := map[resource.Type]string{}
	for _, t := range []resource.Type{resource.ClusterType, resource.EndpointType, resource.RouteType, resource.ListenerType} {
		version, err := versionOf(resources[t])
		if err != nil {
			return err
		}
		if t == resource.EndpointType {
			// A cluster that changes waits for its endpoints, which Envoy is sent
			// only under a new version.
			version += "." + versions[resource.ClusterType]
		}
		versions[t] = version
		snap.Resources[cache.GetResponseType(t)] = cache.NewResources(version, resources[t])
		all += version + "/"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if all == c.last {
		return nil
	}
	if err := snap.Consistent(); err != nil {
		return fmt.Errorf("inconsistent Envoy configuration: %w", err)
	}
	if err := c.cache.SetSnapshot(ctx, xds.NodeID, snap); err != nil {
		return fmt.Errorf("publish Envoy configuration: %w", err)
	}
	c.last = all
	return nil
}

// versionOf hashes the resources, which are in a fixed order.
func versionOf(resources []types.Resource) (string, error) {
	h := xxhash.New()
	var buf []byte
	for _, r := range resources {
		var err error
		if buf, err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(buf[:0], r); err != nil {
			return "", fmt.Errorf("marshal %s: %w", cache.GetResourceName(r), err)
		}
		_, _ = h.Write(buf) // never fails
	}
	return strconv.FormatUint(h.Sum64(), 16), nil
}

// cacheLog passes the snapshot cache's messages on, all but errors at debug: it
// warns of endpoints that Envoy has not asked for yet, as happens with every pool
// that is added.
type cacheLog struct{ log *slog.Logger }

func (l cacheLog) Debugf(string, ...any)        {}
func (l cacheLog) Infof(f string, args ...any)  { l.log.Debug(fmt.Sprintf(f, args...)) }
func (l cacheLog) Warnf(f string, args ...any)  { l.log.Debug(fmt.Sprintf(f, args...)) }
func (l cacheLog) Errorf(f string, args ...any) { l.log.Error(fmt.Sprintf(f, args...)) }
