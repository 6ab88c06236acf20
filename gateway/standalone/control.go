package standalone

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/proto"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// control is the xDS server: one snapshot for one Envoy.
type control struct {
	cache  cache.SnapshotCache
	server *grpc.Server

	mu   sync.Mutex
	last string // version of everything, guarded by mu
}

func newControl(ctx context.Context, log *slog.Logger) *control {
	c := &control{cache: cache.NewSnapshotCache(true, cache.IDHash{}, cacheLog{log})}
	c.server = grpc.NewServer(grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}))
	discovery.RegisterAggregatedDiscoveryServiceServer(c.server, server.NewServer(ctx, c.cache, nil))
	return c
}

// serve answers until the server is stopped.
func (c *control) serve(l net.Listener) error {
	if err := c.server.Serve(l); err != nil {
		return fmt.Errorf("xDS server: %w", err)
	}
	return nil
}

// resources is everything Envoy needs to serve the pools.
func resources(o xds.Options, pools []xds.Pool) (map[resource.Type][]types.Resource, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := xds.ValidatePools(pools); err != nil {
		return nil, err
	}
	pools = slices.Clone(pools)
	slices.SortFunc(pools, func(a, b xds.Pool) int { return strings.Compare(a.Name, b.Name) })
	clusters := []types.Resource{xds.PickerCluster(o), xds.NoPickerCluster()}
	var endpoints []types.Resource
	for _, p := range pools {
		clusters = append(clusters, xds.PoolCluster(p, o))
		endpoints = append(endpoints, xds.Endpoints(p))
	}
	return map[resource.Type][]types.Resource{
		resource.ListenerType: {xds.Listener(o)},
		resource.RouteType:    {xds.Routes(o, pools)},
		resource.ClusterType:  clusters,
		resource.EndpointType: endpoints,
	}, nil
}

// update publishes the resources, each type under a version of its own, so that
// Envoy is sent only what has changed.
func (c *control) update(ctx context.Context, resources map[resource.Type][]types.Resource) error {
	snap := new(cache.Snapshot)
	all := ""
	for _, t := range []resource.Type{resource.EndpointType, resource.ClusterType, resource.RouteType, resource.ListenerType} {
		version, err := versionOf(resources[t])
		if err != nil {
			return err
		}
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

// cacheLog passes the snapshot cache's messages on, all but warnings at debug.
type cacheLog struct{ log *slog.Logger }

func (l cacheLog) Debugf(string, ...any)        {}
func (l cacheLog) Infof(f string, args ...any)  { l.log.Debug(fmt.Sprintf(f, args...)) }
func (l cacheLog) Warnf(f string, args ...any)  { l.log.Warn(fmt.Sprintf(f, args...)) }
func (l cacheLog) Errorf(f string, args ...any) { l.log.Error(fmt.Sprintf(f, args...)) }
