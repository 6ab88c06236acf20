package envoygateway

import (
	"fmt"
	"slices"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fairway-ai/fairway/gateway/xds"
)

const (
	managerType  = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	routerFilter = "envoy.filters.http.router"
)

// manager is an HTTP connection manager that may have to be changed.
type manager struct {
	config *hcmv3.HttpConnectionManager
	routes string // the name of its route configuration
	packed *anypb.Any
}

// listeners are the listeners, decoded as far as they have routes of their own.
type listeners struct {
	decoded  []*listenerv3.Listener // nil without
	managers [][]manager
	// idle are the route configurations whose listeners bound silence.
	idle map[string]bool
	// unproven are the route configurations with listeners that do not prove who clients
	// are.
	unproven map[string]bool
	// filtered says that a connection manager got the filter.
	filtered bool
}

// findListeners decodes the listeners that use route configurations.
func findListeners(list [][]byte) (*listeners, error) {
	found := &listeners{
		decoded: make([]*listenerv3.Listener, len(list)), managers: make([][]manager, len(list)),
		idle: map[string]bool{}, unproven: map[string]bool{},
	}
	for i, encoded := range list {
		l := new(listenerv3.Listener)
		if err := proto.Unmarshal(encoded, l); err != nil {
			return nil, fmt.Errorf("listener %d: %w", i, err)
		}
		chains := l.FilterChains
		if l.DefaultFilterChain != nil {
			chains = append(slices.Clone(chains), l.DefaultFilterChain)
		}
		for _, chain := range chains {
			for _, f := range chain.Filters {
				packed := f.GetTypedConfig()
				if packed.GetTypeUrl() != managerType {
					continue
				}
				m := new(hcmv3.HttpConnectionManager)
				if err := proto.Unmarshal(packed.Value, m); err != nil {
					return nil, fmt.Errorf("listener %q: %w", l.Name, err)
				}
				name := m.GetRds().GetRouteConfigName()
				if name == "" {
					continue // one that Envoy Gateway has for itself
				}
				found.decoded[i] = l
				found.managers[i] = append(found.managers[i], manager{m, name, packed})
				if !identifies(chain, m) {
					found.unproven[name] = true
				}
				if m.StreamIdleTimeout != nil {
					found.idle[name] = true
				}
			}
		}
	}
	return found, nil
}

// patch adds the filter to all connection managers with routes, whether any of them is
// ours or not: a listener that is changed when the first rule of ours comes, and again
// when the last one goes, answers 404 while Envoy waits for its routes.
func (l *listeners) patch(list [][]byte, configs routeConfigs, limits xds.Options) ([][]byte, error) {
	out := slices.Clone(list)
	for i, managers := range l.managers {
		changed := false
		for _, m := range managers {
			if err := patchManager(m.config, limits); err != nil {
				if !configs.ours[m.routes] {
					continue
				}
				return nil, fmt.Errorf("listener %q: %w", l.decoded[i].Name, err)
			}
			m.packed.Value = encode(m.config)
			changed = true
		}
		if changed {
			// What Envoy Gateway has by default is less than many a provider's answer. Other
			// listeners keep it: it bounds what slow clients cost.
			needs := slices.ContainsFunc(managers, func(m manager) bool { return configs.translated[m.routes] })
			if b := l.decoded[i].PerConnectionBufferLimitBytes; needs && b.GetValue() < xds.ConnectionBuffer {
				l.decoded[i].PerConnectionBufferLimitBytes = wrapperspb.UInt32(xds.ConnectionBuffer)
			}
			out[i] = encode(l.decoded[i])
			l.filtered = true
		}
	}
	return out, nil
}

// patchManager adds what pools need: the filter, last before the router, so that
// whatever may refuse a request has done so; the removal of routing headers before
// the first route is chosen, after Envoy Gateway's own early changes; and answers in
// the client's schema.
func patchManager(m *hcmv3.HttpConnectionManager, limits xds.Options) error {
	router := slices.IndexFunc(m.HttpFilters, func(f *hcmv3.HttpFilter) bool {
		return f.Name == routerFilter || strings.HasSuffix(f.GetTypedConfig().GetTypeUrl(), "/envoy.extensions.filters.http.router.v3.Router")
	})
	if router < 0 {
		return fmt.Errorf("route configuration %q: its connection manager has no router", m.GetRds().GetRouteConfigName())
	}
	m.HttpFilters = slices.Insert(m.HttpFilters, router, xds.OptionalExtProcFilter(limits))
	m.EarlyHeaderMutationExtensions = append(m.EarlyHeaderMutationExtensions, xds.StripRoutingHeaders(xds.RouteHeader))
	if m.LocalReplyConfig == nil {
		m.LocalReplyConfig = xds.LocalReplies()
	}
	return nil
}
