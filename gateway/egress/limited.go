package egress

import (
	"container/list"
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/observe"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/egress/limits"
)

const (
	// maxLate bounds the ended requests of which usage may still be told, and lateLife
	// for how long: what answers and what counts are two streams of Envoy's.
	maxLate  = 4096
	lateLife = 30 * time.Second
)

// Limits holds requests to the limits of their rules, and charges them with what their
// tries report, as an Observer. Make it with [NewLimits]. Its methods may be called
// concurrently.
type Limits struct {
	limiter *limits.Limiter
	costs   func(*Outcome) map[string]uint64
	now     func() time.Time

	mu    sync.Mutex
	byID  map[string]*limits.Admission
	ended *list.List // of endedID, the oldest first
}

type endedID struct {
	id string
	at time.Time
}

// NewLimits returns limits without requests. costs is as that of Translators; now is the
// clock, and nil means time.Now.
func NewLimits(l *limits.Limiter, costs func(*Outcome) map[string]uint64, now func() time.Time) *Limits {
	if now == nil {
		now = time.Now
	}
	if costs == nil {
		costs = func(*Outcome) map[string]uint64 { return nil }
	}
	return &Limits{limiter: l, costs: costs, now: now, byID: map[string]*limits.Admission{}, ended: list.New()}
}

// SetRules replaces the rules.
func (l *Limits) SetRules(c *airoute.Config) { l.limiter.SetRules(c) }

// limited is a request under limits. nil is one without, and all its methods do nothing
// then.
type limited struct {
	of        *Limits
	admission *limits.Admission
	// id names the request in outcomes, and no client can know it.
	id        string
	anthropic bool
}

// admit holds a request to the limits of its rule. A nil Limits has none.
func (l *Limits) admit(rule *airoute.Rule, req *extproc.Request, identity string) (*limited, error) {
	if l == nil || len(rule.Limits) == 0 {
		return nil, nil
	}
	api := req.Body.API
	admission, refusal := l.limiter.Admit(rule.Name, &limits.Request{
		Model: req.Body.Model, User: req.Body.User, Identity: identity, Header: req.Header,
		Prompt: req.Body.PromptTokens(), MaxTokens: req.Body.MaxTokens,
		NoOutput: api == scan.Embeddings || api == scan.CountTokens,
		Costs: func(u chat.Usage) map[string]uint64 {
			return l.costs(&Outcome{Rule: rule.Name, Model: clip(req.Body.Model), Status: 200, Usage: u})
		},
	})
	anthropic := api.Anthropic() || api == scan.Other && req.Header("anthropic-version") != ""
	switch {
	case refusal != nil:
		return nil, &extproc.Rejection{
			Status: 429, Code: "rate_limit_exceeded", Message: refusal.Error(), Headers: refusal.Headers(anthropic),
		}
	case admission == nil:
		return nil, nil
	}
	x := &limited{of: l, admission: admission, id: rand.Text(), anthropic: anthropic}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byID[x.id] = admission
	return x, nil
}

// name is the request's ID, "" without limits.
func (x *limited) name() string {
	if x == nil {
		return ""
	}
	return x.id
}

// picked ends what the pick came to: with the request, or now if nothing is sent.
func (x *limited) picked(pick extproc.Pick, err error) (extproc.Pick, error) {
	if x == nil {
		return pick, err
	}
	if err != nil || pick.Change != nil && pick.Change.Immediate != nil {
		x.admission.Cancel()
		x.of.forget(x.id, true)
		return pick, err
	}
	pick.Observer = &underLimits{Observer: pick.Observer, limited: x}
	return pick, nil
}

// forget lets go of a request: now, or when nothing can be told of it any more.
func (l *Limits) forget(id string, now bool) {
	at := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if now {
		delete(l.byID, id)
	} else {
		l.ended.PushBack(endedID{id, at})
	}
	for e := l.ended.Front(); e != nil && (l.ended.Len() > maxLate || at.Sub(e.Value.(endedID).at) > lateLife); e = l.ended.Front() {
		delete(l.byID, l.ended.Remove(e).(endedID).id)
	}
}

// Answered implements Observer.
func (l *Limits) Answered(o Outcome) {
	if o.ID == "" || !o.Usage.Known {
		return
	}
	l.mu.Lock()
	admission := l.byID[o.ID]
	l.mu.Unlock()
	if admission != nil {
		admission.Charge(o.Usage, l.costs(&o))
	}
}

// Refused implements Observer.
func (l *Limits) Refused(Outcome) {}

// underLimits is the Observer of a request under limits.
type underLimits struct {
	extproc.Observer // nil when nobody else observes
	*limited
}

// ReadHeaders implements extproc.HeaderReader.
func (c *underLimits) ReadHeaders(get func(string) string) {
	if r, ok := c.Observer.(extproc.HeaderReader); ok {
		r.ReadHeaders(get)
	}
}

// ResponseHeaders implements extproc.Observer.
func (c *underLimits) ResponseHeaders(now time.Time, status int, served string) (set []extproc.Header) {
	if c.Observer != nil {
		set = c.Observer.ResponseHeaders(now, status, served)
	}
	return append(slices.Clip(set), c.admission.Headers(c.anthropic)...)
}

// SkipsBody implements extproc.BodySkipper.
func (c *underLimits) SkipsBody() bool {
	s, ok := c.Observer.(extproc.BodySkipper)
	return c.Observer == nil || ok && s.SkipsBody()
}

// FirstToken implements extproc.Observer.
func (c *underLimits) FirstToken(now time.Time) {
	if c.Observer != nil {
		c.Observer.FirstToken(now)
	}
}

// ResponseMetadata implements extproc.MetadataTeller.
func (c *underLimits) ResponseMetadata(u observe.Usage) []byte {
	if t, ok := c.Observer.(extproc.MetadataTeller); ok {
		return t.ResponseMetadata(u)
	}
	return nil
}

// End implements extproc.Observer. A client that left before any answer may have kept a
// backend busy; an answer that is an error has not.
func (c *underLimits) End(now time.Time, o extproc.Outcome) {
	if c.Observer != nil {
		c.Observer.End(now, o)
	}
	c.admission.End(o.Status == 0 || o.Status >= 200 && o.Status < 300, o.Chunks)
	c.of.forget(c.id, c.admission.Told())
}
