package epp

import (
	"context"
	"errors"
	"time"

	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/scan"
)

var (
	_ extproc.Observer   = (*request)(nil)
	_ extproc.TokenTimer = (*request)(nil)
)

// ResponseHeaders implements extproc.Observer.
func (r *request) ResponseHeaders(now time.Time, status int, served string) []extproc.Header {
	r.status = status
	r.responded()
	if r.picker.o.LearnDestinations {
		r.picker.lists.answered(now, status, served)
	}
	if served != "" && served != r.behind(r.endpoint.Address) {
		r.servedBy(now, served)
	}
	if status >= 400 {
		// No prompt was processed; how fast the refusal came teaches nothing.
		r.prefilled(now, false)
	}
	set := r.stamps(nil)
	if r.picker.o.MarkResponses {
		set = append(set, extproc.Header{Name: HeaderPassed, Value: "true"})
	}
	if r.picker.served.Load() {
		if served == "" {
			served = "fail: the gateway does not say which endpoint served"
		}
		set = append(set, extproc.Header{Name: HeaderServed, Value: served})
	}
	return set
}

// servedBy moves the request to the endpoint that the gateway's retry went to.
func (r *request) servedBy(now time.Time, served string) {
	state := r.route.state
	state.endpoints.Suspect(r.endpoint.ID)
	snap := state.endpoints.Snapshot()
	i := snap.IndexOf(served)
	if i < 0 {
		return
	}
	e := snap.Endpoints[i]
	to := state.gateOf(e.Load)
	r.mu.Lock()
	uncached := r.uncached(r.route.scheduler.Uncached(&r.sched, e.Slot))
	from := r.gate
	r.flight.Move(now, e.Load, uncached)
	r.endpoint, r.gate = e, to
	r.mu.Unlock()
	r.cached(e.Slot, e.Load)
	from.release(now)
	if state.flow != nil {
		state.flow.release(now)
	}
}

// FirstToken implements extproc.Observer.
func (r *request) FirstToken(now time.Time) {
	r.prefilled(now, r.status < 400 && (r.stream || r.api == scan.Embeddings))
	if r.status >= 400 {
		return
	}
	r.first = now
	r.counts.FirstToken(now.Sub(r.received), r.stream)
	r.span.FirstToken(now)
}

// Tokens implements extproc.TokenTimer.
func (r *request) Tokens(now time.Time) {
	if !r.last.IsZero() {
		r.counts.Gap(now.Sub(r.last))
	}
	r.last = now
}

// prefilled counts the prompt as processed. seen says that this is the moment it
// happened, rather than some time after.
func (r *request) prefilled(now time.Time, seen bool) {
	r.mu.Lock()
	if seen && r.prefillsItself() {
		r.flight.FirstToken(now)
	} else {
		r.flight.Prefilled(now)
	}
	g, stage := r.gate, r.stageGate()
	staged := r.stages.end(now, seen)
	r.mu.Unlock()
	g.release(now)
	stage.release(now)
	if flow := r.route.state.flow; flow != nil && staged {
		flow.release(now)
	}
}

// End implements extproc.Observer.
func (r *request) End(now time.Time, o extproc.Outcome) {
	total := now.Sub(r.received)
	status := o.Status
	if status == 0 {
		status = r.status
	}
	reason := ""
	switch {
	case o.Interrupted:
		reason = codeExhausted
	case status >= 400:
		reason = codeModelServer
	case !o.Complete:
		reason = codeIncomplete
	}
	if reason != "" {
		r.counts.Failed(reason)
	}
	out := metrics.Outcome{
		Duration: total, ResponseBytes: o.ResponseBytes, Responded: status != 0 && !o.Interrupted,
		UsageKnown:  o.Usage.Known,
		InputTokens: o.Usage.PromptTokens, OutputTokens: o.Usage.CompletionTokens, CachedTokens: o.Usage.CachedTokens,
	}
	if !out.UsageKnown && o.Streamed {
		// An event per token is the rule; better than no count.
		out.OutputTokens = o.Chunks
	}
	if o.Complete && o.Streamed && !r.first.IsZero() && out.OutputTokens > 1 {
		out.PerToken = now.Sub(r.first) / time.Duration(out.OutputTokens-1)
	}
	r.counts.Ended(out)
	if o.Processing > 0 {
		r.picker.o.Metrics.Answering(o.Processing)
	}
	if r.flow != "" {
		// A generated token costs about as much as two that are read.
		r.route.state.flow.served(now, r.sched.Priority, r.flow, float64(out.InputTokens+2*out.OutputTokens))
	}
	var ttft, engine float64
	if !r.first.IsZero() {
		ttft, engine = r.first.Sub(r.received).Seconds(), r.first.Sub(r.dispatchTime()).Seconds()
	}
	r.picker.o.Explain.Finish(r.record, explain.Outcome{
		Served: r.endpoint.ID, Status: status, Complete: o.Complete, Seconds: total.Seconds(), TTFTSeconds: ttft, EngineTTFTSeconds: engine,
		UsageKnown: o.Usage.Known, PromptTokens: o.Usage.PromptTokens,
		CompletionTokens: out.OutputTokens, CachedTokens: o.Usage.CachedTokens,
	})
	r.span.Served(r.endpoint.ID, o.Usage)
	r.span.End(now, status, reason)
	r.recycle(now)
}

func (r *request) dispatchTime() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dispatched
}

// Error codes of the request_error_total metric.
const (
	codeBadRequest   = "BadRequest"
	codeNotFound     = "NotFound"
	codePrecondition = "PreconditionFailed"
	codeExhausted    = "ResourceExhausted"
	codeUnavailable  = "ServiceUnavailable"
	codeModelServer  = "ModelServerError"
	codeIncomplete   = "Incomplete"
	codeCancelled    = "Canceled"
	codeInternal     = "Internal"
)

// errorCode names the reason a request was not picked.
func errorCode(err error) string {
	var rej *extproc.Rejection
	switch {
	case errors.As(err, &rej):
		switch rej.Status {
		case 400, 413:
			return codeBadRequest
		case 404:
			return codeNotFound
		case 412:
			return codePrecondition
		case 429:
			return codeExhausted
		case 503:
			return codeUnavailable
		}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return codeCancelled
	}
	return codeInternal
}

// heldOutcome names what became of a request that was held and not sent.
func (r *request) heldOutcome(err error) string {
	if r.refusal != nil {
		return string(r.refusal.outcome)
	}
	switch errorCode(err) {
	case codeCancelled:
		return metrics.HeldCancelled
	case codeUnavailable, codeExhausted:
		return metrics.HeldNoEndpoints
	}
	return metrics.HeldOther
}
