package epp

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/scheduler"
)

// Header names of the endpoint picker's contract with clients and gateways.
const (
	// HeaderPool tells the gateway which pool was chosen, "namespace/name".
	HeaderPool = "x-fairway-pool"
	// HeaderExplain set to "1" asks for HeaderExplanation in the response.
	HeaderExplain = "x-fairway-explain"
	// HeaderExplanation is the decision as one line of JSON.
	HeaderExplanation = "x-fairway-explanation"
	// HeaderScores is the picked endpoints' scores, in the order of the
	// destinations.
	HeaderScores = "x-gateway-destination-endpoint-scores"
	// HeaderSession is a session token: the base64 of an endpoint's ID.
	HeaderSession = "x-session-token"
	// HeaderPassed on a response says, as the pickers before this one say, that the
	// request was picked for.
	HeaderPassed = "x-went-into-resp-headers"
	// HeaderServed is the endpoint that the gateway says served a request, for
	// conformance tests.
	HeaderServed = "x-conformance-test-served-endpoint"
	// HeaderDropped says why a request was refused.
	HeaderDropped = "x-llm-d-request-dropped-reason"

	headerFairness        = "x-llm-d-inference-fairness-id"
	headerFairnessLegacy  = "x-gateway-inference-fairness-id"
	headerObjective       = "x-llm-d-inference-objective"
	headerObjectiveLegacy = "x-gateway-inference-objective"
	headerTTFT            = "x-llm-d-slo-ttft-ms"
	headerTTFTLegacy      = "x-slo-ttft-ms"
)

var (
	droppedSaturated   = []extproc.Header{{Name: HeaderDropped, Value: "rejected-saturated"}}
	droppedNoEndpoints = []extproc.Header{{Name: HeaderDropped, Value: "rejected-no-endpoints"}}
)

const (
	maxFairnessID   = 256
	maxObjective    = 253
	maxSessionToken = 1024
	maxTTFT         = 24 * time.Hour
)

// either is a header, or the one that it is called in earlier versions.
func either(req *extproc.Request, name, legacy string) string {
	if v := req.Header(name); v != "" {
		return v
	}
	return req.Header(legacy)
}

// objective is the name of the InferenceObjective that a request has, "" for none
// and for what cannot be a name.
func objective(req *extproc.Request) string {
	if v := either(req, headerObjective, headerObjectiveLegacy); len(v) <= maxObjective {
		return v
	}
	return ""
}

// firstTokenBy is when the client wants the first token, 0 being at once; the zero Time
// when it does not say, or not in milliseconds. More than a day counts as a day.
func firstTokenBy(req *extproc.Request, received time.Time) time.Time {
	ms, err := strconv.ParseInt(strings.TrimSpace(either(req, headerTTFT, headerTTFTLegacy)), 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		err = nil // ms is the end of the range
	}
	if err != nil || ms < 0 {
		return time.Time{}
	}
	return received.Add(time.Duration(min(ms, maxTTFT.Milliseconds())) * time.Millisecond)
}

// fairnessID is the flow a request belongs to: the one that it names, else its session's,
// in the first of these headers that says one.
func fairnessID(req *extproc.Request, sessions []string) string {
	for _, name := range [...]string{headerFairness, headerFairnessLegacy} {
		if v := req.Header(name); v != "" && len(v) <= maxFairnessID {
			return v
		}
	}
	for _, name := range sessions {
		if v := req.Header(name); v != "" && len(v) <= maxFairnessID {
			return v
		}
	}
	return defaultFairnessID
}

// session is the endpoint ID a session token names, "" for none and for garbage.
func session(token string) string {
	if token == "" || len(token) > maxSessionToken {
		return ""
	}
	id, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		return ""
	}
	return string(id)
}

func sessionToken(id string) string { return base64.StdEncoding.EncodeToString([]byte(id)) }

// destinations joins the addresses of the ranked endpoints.
func destinations(snap *scheduler.Snapshot, ranked []int32) string {
	if len(ranked) == 1 {
		return snap.Endpoints[ranked[0]].Address
	}
	n := len(ranked) - 1
	for _, i := range ranked {
		n += len(snap.Endpoints[i].Address)
	}
	var b strings.Builder
	b.Grow(n)
	for k, i := range ranked {
		if k > 0 {
			b.WriteByte(',')
		}
		b.WriteString(snap.Endpoints[i].Address)
	}
	return b.String()
}

// score is what the picker chose the ranked endpoints by; of the default policy that
// is a price, less of which is better. nil when that is not known.
func (r *request) score(ex *scheduler.Explanation) []extproc.EndpointScore {
	var total []float32
	for i := range ex.Columns {
		if ex.Columns[i].Kind == scheduler.Total && ex.Decides(&ex.Columns[i]) {
			total = ex.Columns[i].Values
		}
	}
	if total == nil {
		return nil
	}
	out := make([]extproc.EndpointScore, len(r.decision.Ranked))
	for k, i := range r.decision.Ranked {
		out[k] = extproc.EndpointScore{Address: r.behind(r.snap.Endpoints[i].Address), Score: float64(total[i])}
	}
	return out
}

// scores lists scores as the value of a header.
func scores(list []extproc.EndpointScore) string {
	b := make([]byte, 0, 8*len(list))
	for k, s := range list {
		if k > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, s.Score, 'g', 6, 32)
	}
	return string(b)
}
