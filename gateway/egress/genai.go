package egress

import (
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/observe"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// PoolAnswers follows the answers that pools give to requests of rules, as [Translators]
// follow those of backends: what they cost, and how they went. A request that is answered
// by a backend after all is left to those.
type PoolAnswers struct {
	// Costs is as that of Translators.
	Costs func(o *Outcome) map[string]uint64
	// Observer is told of each answer, with the pool's name as the backend and no schema;
	// it may be nil.
	Observer Observer
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// watch returns the pick's observer, with a watch around it where a pool may answer. A
// nil PoolAnswers watches nothing.
// id is the Outcome's.
func (p *PoolAnswers) watch(rule *airoute.Rule, req *extproc.Request, pick *extproc.Pick, id string) extproc.Observer {
	if p == nil {
		return pick.Observer
	}
	pools := bare(rule)
	if len(pools) == 0 {
		return pick.Observer
	}
	model, sent := clip(req.Body.Model), clip(pick.Model)
	if sent == "" {
		sent = strings.TrimPrefix(model, rule.TrimModel)
	}
	// A picker that traces puts its own span between the client's and the server's.
	parent := getter(pick.SetHeaders).Get(traceParent)
	if parent == "" {
		parent = req.Header(traceParent)
	}
	return &watched{of: p, next: pick.Observer, pools: pools, outcome: Outcome{
		ID: id, RequestID: clip(req.ID), Rule: rule.Name, Operation: operationOf(req.Path), TraceParent: clip(parent),
		Model: model, SentModel: sent, Stream: req.Body.Stream, Began: req.Received, Sent: p.now(),
	}}
}

func (p *PoolAnswers) now() time.Time {
	if p.Now == nil {
		return time.Now()
	}
	return p.Now()
}

// beforehand are the costs of a rule's request before anybody answers, as the value of
// CostNamespace; nil where there are none. A rate limit that finds no number would
// complain.
func (p *PoolAnswers) beforehand(rule *airoute.Rule) *structpb.Value {
	if p == nil || len(rule.Costs) == 0 {
		return nil
	}
	return costValue(p.Costs, &Outcome{Rule: rule.Name})
}

// watched is the Observer of a request that a pool may answer.
type watched struct {
	of    *PoolAnswers
	next  extproc.Observer // may be nil
	pools []string
	// by says that a pool answers; without, everything else is next's alone.
	by      bool
	outcome Outcome
	ledger  ledger
}

// ReadHeaders implements extproc.HeaderReader.
func (w *watched) ReadHeaders(get func(string) string) {
	by := get(BackendHeader)
	if by == "" && len(w.pools) == 1 && w.next != nil {
		by = w.pools[0] // nobody but the pool that was picked in
	}
	w.outcome.Backend = poolOf(w.pools, by)
	w.by = w.outcome.Backend != ""
	if r, ok := w.next.(extproc.HeaderReader); ok {
		r.ReadHeaders(get)
	}
}

// ResponseHeaders implements extproc.Observer.
func (w *watched) ResponseHeaders(now time.Time, status int, served string) []extproc.Header {
	w.outcome.Status = status
	if w.next == nil {
		return nil
	}
	return w.next.ResponseHeaders(now, status, served)
}

// SkipsBody implements extproc.BodySkipper.
func (w *watched) SkipsBody() bool {
	if w.by {
		return false
	}
	s, ok := w.next.(extproc.BodySkipper)
	return w.next == nil || ok && s.SkipsBody()
}

// FirstToken implements extproc.Observer.
func (w *watched) FirstToken(now time.Time) {
	w.outcome.FirstByte = now
	if w.next != nil {
		w.next.FirstToken(now)
	}
}

// ResponseMetadata implements extproc.MetadataTeller. What the picker tells of an answer
// of its pool is told beside it.
func (w *watched) ResponseMetadata(u observe.Usage) []byte {
	if !w.by {
		return nil
	}
	usage := usageOf(u)
	told := w.ledger.tell(usage, func() *Outcome { w.outcome.Usage = usage; return &w.outcome }, w.of.Costs)
	if t, ok := w.next.(extproc.MetadataTeller); ok {
		// Of a message that is in two parts, the fields are those of both.
		told = append(told, t.ResponseMetadata(u)...)
	}
	return told
}

// End implements extproc.Observer.
func (w *watched) End(now time.Time, o extproc.Outcome) {
	if w.next != nil {
		w.next.End(now, o)
	}
	if !w.by || w.of.Observer == nil {
		return
	}
	w.outcome.Usage, w.outcome.Complete, w.outcome.Ended = usageOf(o.Usage), o.Complete, now
	w.of.Observer.Answered(w.outcome)
}

// usageOf is what a model server counted, as aibackend has it.
func usageOf(u observe.Usage) chat.Usage {
	return chat.Usage{
		Known: u.Known, Input: u.PromptTokens, Output: u.CompletionTokens,
		Cached: u.CachedTokens, CacheWrite: u.CacheCreationTokens, Reasoning: u.ReasoningTokens,
	}
}
