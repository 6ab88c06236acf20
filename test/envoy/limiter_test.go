package envoy

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	ratelimitconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/internal/testkit"
)

// limiter is a rate limit service: each user may use so much.
type limiter struct {
	ratelimitv3.UnimplementedRateLimitServiceServer
	addr  string
	limit uint64

	mu   sync.Mutex
	sum  map[string]uint64
	told map[string][]string // what was reported at the end of requests
}

func serveLimiter(t *testing.T, limit uint64) *limiter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x := &limiter{addr: l.Addr().String(), limit: limit, sum: map[string]uint64{}, told: map[string][]string{}}
	server := grpc.NewServer()
	ratelimitv3.RegisterRateLimitServiceServer(server, x)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return x
}

// ShouldRateLimit implements the service. A check has the addend 0.
func (x *limiter) ShouldRateLimit(_ context.Context, q *ratelimitv3.RateLimitRequest) (*ratelimitv3.RateLimitResponse, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OK}
	for _, d := range q.GetDescriptors() {
		user, done := "", false
		for _, e := range d.GetEntries() {
			switch e.GetKey() {
			case "user":
				user = e.GetValue()
			case "done":
				done = true
			}
		}
		if done {
			said := "nothing"
			if n := d.GetHitsAddend(); n != nil {
				said = fmt.Sprint(n.GetValue())
				x.sum[user] += n.GetValue()
			} else {
				x.sum[user] += max(uint64(q.GetHitsAddend()), 1)
			}
			x.told[user] = append(x.told[user], said)
		} else if x.sum[user] > x.limit {
			out.OverallCode = ratelimitv3.RateLimitResponse_OVER_LIMIT
		}
		out.Statuses = append(out.Statuses, &ratelimitv3.RateLimitResponse_DescriptorStatus{Code: out.OverallCode})
	}
	return out, nil
}

// reports waits until what was reported of a user is want.
func (x *limiter) reports(t *testing.T, user, want string) {
	t.Helper()
	eventually(t, "the use of "+user, func() error {
		x.mu.Lock()
		defer x.mu.Unlock()
		if got := strings.Join(x.told[user], " "); got != want {
			return fmt.Errorf("reported was %q, want %q", got, want)
		}
		return nil
	})
}

func (x *limiter) used(user string) uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sum[user]
}

func packed(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// startLimited starts Envoy with rules and, as a policy of another control plane would
// have it, a rate limit that counts the cost "price" for each x-user.
func startLimited(t *testing.T, envoy, picker string, routing xds.Routing, limits string) (url string) {
	t.Helper()
	port, err := netip.ParseAddrPort(testkit.Refused(t))
	if err != nil {
		t.Fatal(err)
	}
	resources, err := xds.RoutedResources(xds.Options{Address: port, PickerSocket: picker, MaxBodyBytes: rigLimit, MessageTimeout: patience}, nil, routing)
	if err != nil {
		t.Fatal(err)
	}
	static := &bootstrapv3.Bootstrap_StaticResources{}
	for _, r := range resources[resource.ClusterType] {
		static.Clusters = append(static.Clusters, r.(*clusterv3.Cluster))
	}
	static.Clusters = append(static.Clusters, limiterCluster(t, limits))
	routes := resources[resource.RouteType][0].(*routev3.RouteConfiguration)
	user := &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RequestHeaders_{
		RequestHeaders: &routev3.RateLimit_Action_RequestHeaders{HeaderName: "x-user", DescriptorKey: "user"},
	}}
	routes.VirtualHosts[0].TypedPerFilterConfig = map[string]*anypb.Any{"limits": packed(t, &ratelimitfilterv3.RateLimitPerRoute{
		RateLimits: []*routev3.RateLimit{
			{Actions: []*routev3.RateLimit_Action{user}, HitsAddend: &routev3.RateLimit_HitsAddend{Number: wrapperspb.UInt64(0)}},
			{
				Actions: []*routev3.RateLimit_Action{user, {ActionSpecifier: &routev3.RateLimit_Action_GenericKey_{
					GenericKey: &routev3.RateLimit_Action_GenericKey{DescriptorKey: "done", DescriptorValue: "1"},
				}}},
				HitsAddend:        &routev3.RateLimit_HitsAddend{Format: "%DYNAMIC_METADATA(dev.fairway.costs:price)%"},
				ApplyOnStreamDone: true,
			},
		},
	})}
	l := resources[resource.ListenerType][0].(*listenerv3.Listener)
	var m hcmv3.HttpConnectionManager
	if err := l.FilterChains[0].Filters[0].GetTypedConfig().UnmarshalTo(&m); err != nil {
		t.Fatal(err)
	}
	m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes}
	m.HttpFilters = append([]*hcmv3.HttpFilter{{Name: "limits", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(t, &ratelimitfilterv3.RateLimit{
		Domain: "test", FailureModeDeny: true, Timeout: durationpb.New(patience),
		RateLimitService: &ratelimitconfigv3.RateLimitServiceConfig{
			TransportApiVersion: corev3.ApiVersion_V3,
			GrpcService:         &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "limiter"}}},
		},
	})}}}, m.HttpFilters...)
	l.FilterChains[0].Filters[0].ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: packed(t, &m)}
	static.Listeners = []*listenerv3.Listener{l}
	text, err := protojson.Marshal(&bootstrapv3.Bootstrap{Node: &corev3.Node{Id: "test", Cluster: "test"}, StaticResources: static})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(envoy, "--config-path", file, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
	cmd.Stderr = logging(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	url = "http://" + port.String()
	eventually(t, "Envoy answers", func() error {
		resp, err := (&http.Client{Timeout: time.Second}).Get(url + "/v1/models")
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	})
	return url
}

func limiterCluster(t *testing.T, addr string) *clusterv3.Cluster {
	a := netip.MustParseAddrPort(addr)
	return &clusterv3.Cluster{
		Name: "limiter", ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}, ConnectTimeout: durationpb.New(time.Second),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(t, &httpv3.HttpProtocolOptions{
			UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
			}},
		})},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: "limiter", Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
				SocketAddress: &corev3.SocketAddress{Address: a.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())}},
			}}}},
		}}}}},
	}
}
