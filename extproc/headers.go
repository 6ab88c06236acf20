package extproc

import "strings"

// Names that the endpoint picker protocol and Envoy give things.
const (
	// DestinationHeader carries the picked endpoints, as a request header and as
	// dynamic metadata.
	DestinationHeader = "x-gateway-destination-endpoint"
	// RequestIDHeader identifies a request to everyone.
	RequestIDHeader = "x-request-id"
	// ModelRewriteHeader names another model than the body to a picker; clients may send it.
	// ModelRewriteHeaderLegacy is what it was called before.
	ModelRewriteHeader       = "x-llm-d-model-name-rewrite"
	ModelRewriteHeaderLegacy = "x-gateway-model-name-rewrite"
	// PoolMetadata is the key in gRPC initial metadata that names the pool.
	PoolMetadata = "x-fairway-pool"

	metadataNamespace = "envoy.lb"
	scoresKey         = "x-gateway-destination-endpoint-scores"
	servedKey         = "x-gateway-destination-endpoint-served"
	subsetNamespace   = "envoy.lb.subset_hint"
	subsetKey         = "x-gateway-destination-endpoint-subset"

	// ownPrefix is the prefix of our own control headers.
	ownPrefix = "x-fairway-"

	// maxHeaders bounds a header map.
	maxHeaders = 4096
)

// Headers is a header map in wire order. Names and values share one string.
type Headers struct{ list []Header }

// Get returns the first value of a header by its lower-case name, "" when absent.
func (h *Headers) Get(name string) string {
	if h == nil {
		return ""
	}
	for i := range h.list {
		if h.list[i].Name == name {
			return h.list[i].Value
		}
	}
	return ""
}

// parse reads an envoy.config.core.v3.HeaderMap, reusing h's memory. The strings
// in h are parts of m.
func (h *Headers) parse(m string) (err error) {
	h.list = h.list[:0]
	for i := 0; i < len(m); {
		var f field
		if f, i, err = nextField(m, i); err != nil {
			return err
		}
		if f.num != 1 || f.typ != wireBytes {
			continue
		}
		if len(h.list) == maxHeaders {
			return errWire
		}
		hv := m[f.lo:f.hi]
		var key, value, raw string
		for j := 0; j < len(hv); {
			var e field
			if e, j, err = nextField(hv, j); err != nil {
				return err
			}
			if e.typ != wireBytes {
				continue
			}
			switch e.num {
			case 1:
				key = hv[e.lo:e.hi]
			case 2:
				value = hv[e.lo:e.hi]
			case 3:
				raw = hv[e.lo:e.hi]
			}
		}
		// Envoy fills either one; raw_value also carries bytes that are not UTF-8.
		if raw != "" {
			value = raw
		}
		h.list = append(h.list, Header{Name: key, Value: value})
	}
	return nil
}

// reset forgets the headers, so that a pooled Headers keeps no request alive.
func (h *Headers) reset() {
	clear(h.list)
	h.list = h.list[:0]
}

// control reports whether a client's request header is one of those that steer
// gateways and model servers. They are read here and go no further.
func control(name string) bool {
	if !strings.HasPrefix(name, "x-") {
		return false
	}
	switch name {
	case "x-gateway-destination-endpoint-subset",
		"x-gateway-inference-objective", "x-gateway-inference-fairness-id",
		"x-llm-d-inference-objective", "x-llm-d-inference-fairness-id",
		ModelRewriteHeaderLegacy, ModelRewriteHeader,
		"x-slo-ttft-ms", "x-slo-tpot-ms", "x-llm-d-slo-ttft-ms", "x-llm-d-slo-tpot-ms",
		"x-prefiller-host-port", "x-encoder-hosts-ports", "x-kv-cache-source-host-port",
		"x-llm-d-prefiller-host-port", "x-llm-d-encoder-hosts-ports", "x-llm-d-kv-cache-source-host-port",
		"x-data-parallel-host-port", "x-data-parallel-rank",
		DestinationHeader:
		return true
	}
	return strings.HasPrefix(name, ownPrefix)
}

// settable reports whether a header may be set or removed here. Pseudo-headers
// and content-length belong to the proxy, and one bad character would make it
// drop the whole answer.
func settable(h Header) bool {
	if h.Name == "" || h.Name[0] == ':' || h.Name == "content-length" {
		return false
	}
	return !strings.ContainsAny(h.Name, "\r\n\x00 ") && !strings.ContainsAny(h.Value, "\r\n\x00")
}
