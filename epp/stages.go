package epp

import (
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/scheduler"
)

// Headers for the sidecar of the picked endpoint, which calls the others. Those that
// a client sends are removed.
const (
	// HeaderPrefiller is the endpoint that processes the prompt; sidecars know it by
	// either name.
	HeaderPrefiller       = "x-llm-d-prefiller-host-port"
	HeaderPrefillerLegacy = "x-prefiller-host-port"
	// HeaderEncoders are the endpoints that encode images, separated by commas; sidecars
	// know it by either name.
	HeaderEncoders       = "x-llm-d-encoder-hosts-ports"
	HeaderEncodersLegacy = "x-encoder-hosts-ports"
	// HeaderDataParallel is the rank to use, where the gateway reaches its pod at
	// another port.
	HeaderDataParallel = "x-data-parallel-host-port"
)

// stages is a request's share of the endpoints that work on it before the picked one
// answers. The zero value is none. It is guarded by the request's mu.
type stages struct {
	prefill, encode     scheduler.Flight
	prefillID, encodeID string
	// prefilled and encoded are the labels of those endpoints.
	prefillLabels, encodeLabels map[string]string
}

// bindStages counts the request on the endpoints of its other stages and gives the
// uncached tokens that are left to the picked one.
func (r *request) bindStages(now time.Time) {
	d := &r.decision
	if len(d.Prefill) > 0 {
		e := &r.snap.Endpoints[d.Prefill[0]]
		r.stages.prefillID, r.stages.prefillLabels = e.ID, e.Labels
		r.stages.prefill.Bind(e.Load, d.PrefillUncached, r.sched.PromptTokens)
		r.stages.prefill.Dispatch(now, d.PrefillUncached)
		r.cached(e.Slot, e.Load)
	}
	if len(d.Encode) > 0 {
		e := &r.snap.Endpoints[d.Encode[0]]
		r.stages.encodeID, r.stages.encodeLabels = e.ID, e.Labels
		r.stages.encode.Bind(e.Load, 0, 0)
		r.stages.encode.Dispatch(now, 0)
	}
}

// prefillsItself reports whether the picked endpoint processes the prompt.
func (r *request) prefillsItself() bool { return r.stages.prefill.Load() == nil }

// uncached is what the picked endpoint has to process of a prompt of which it lacks
// that many tokens.
func (r *request) uncached(missing int64) int64 {
	if r.prefillsItself() {
		return missing
	}
	return 0
}

// end takes the request off the endpoints, which have done their part when the first
// token comes. served says that it has come. It reports whether the request was on any.
func (s *stages) end(now time.Time, served bool) (some bool) {
	if served {
		s.prefill.FirstToken(now)
	}
	s.prefill.End(now)
	s.encode.End(now)
	return s.prefill.Load() != nil || s.encode.Load() != nil
}

// stageGate is the gate of the endpoint that processes the prompt for the picked one,
// nil when there is none. The caller holds r.mu.
func (r *request) stageGate() *gate {
	if r.prefillsItself() {
		return nil
	}
	return (*r.route.state.gates.Load())[r.stages.prefill.Load()]
}

// headers tell the picked endpoint's sidecar of the other endpoints.
func (r *request) stageHeaders(set []extproc.Header) []extproc.Header {
	d := &r.decision
	if len(d.Prefill) > 0 {
		set = both(set, HeaderPrefiller, HeaderPrefillerLegacy, r.snap.Endpoints[d.Prefill[0]].Address)
	}
	if len(d.Encode) > 0 {
		set = both(set, HeaderEncoders, HeaderEncodersLegacy, destinations(r.snap, d.Encode))
	}
	if d.Port != 0 {
		set = with(set, HeaderDataParallel, r.snap.Endpoints[d.Ranked[0]].Address)
	}
	return set
}

// both returns hs and a header under both of its names, in memory of its own.
func both(hs []extproc.Header, name, legacy, value string) []extproc.Header {
	return append(hs[:len(hs):len(hs)], extproc.Header{Name: name, Value: value}, extproc.Header{Name: legacy, Value: value})
}

// destination is what the gateway is told: the ranked endpoints, or the port that the
// picked one is behind.
func (r *request) destination() string {
	if r.decision.Port == 0 {
		return destinations(r.snap, r.decision.Ranked)
	}
	return r.behind(r.snap.Endpoints[r.decision.Ranked[0]].Address)
}

// behind is the address at which the gateway reaches the endpoint of that address.
func (r *request) behind(address string) string {
	if r.decision.Port == 0 {
		return address
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return net.JoinHostPort(host, strconv.Itoa(r.decision.Port))
}

// stamps are the headers that the policy wants on the response.
func (r *request) stamps(set []extproc.Header) []extproc.Header {
	for i := range r.route.stamps {
		s := &r.route.stamps[i]
		id, labels := r.endpoint.ID, r.endpoint.Labels
		switch s.Stage {
		case scheduler.StagePrefill:
			id, labels = r.stages.prefillID, r.stages.prefillLabels
		case scheduler.StageEncode:
			id, labels = r.stages.encodeID, r.stages.encodeLabels
		}
		value := labels[s.Label]
		if s.Label == "" && id != "" {
			value = sessionToken(id)
		}
		if value != "" {
			set = append(set, extproc.Header{Name: s.Header, Value: value})
		}
	}
	return set
}

// headerPrefer asks, with the value if-available, to be served only where some of
// the prompt is cached.
const headerPrefer = "prefer"

// errNotCached is what such a request is told where nothing is: the caller then has
// the prompt processed elsewhere first.
var errNotCached = &extproc.Rejection{
	Status: 412, Code: "not_cached", Message: "no endpoint that can answer has any of the prompt cached",
}

// onlyIfAvailable reports whether a Prefer header's value has that preference.
func onlyIfAvailable(prefer string) bool {
	for p := range strings.SplitSeq(prefer, ",") {
		p, _, _ = strings.Cut(p, ";")
		p, _, _ = strings.Cut(p, "=")
		if strings.EqualFold(strings.TrimSpace(p), "if-available") {
			return true
		}
	}
	return false
}
