package egress

import (
	"slices"
	"strings"
	"time"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/observe"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

const (
	// FallbackHeader tells a client why the targets before the one that answered did
	// not: "ns/pool: saturated; ns/cloud: 503".
	FallbackHeader = "x-fairway-fallback"
	// maxFallback bounds its value, in bytes.
	maxFallback = 1 << 10
)

// passed is a target that was passed over.
type passed struct{ name, reason string }

// pass notes that a target was passed over.
func (w *walk) pass(t airoute.Target, reason string) {
	w.over = append(w.over, passed{name(t), reason})
}

// goes reports what was passed over since the last call, on the way to a target.
func (w *walk) goes(to string) {
	if f := w.router.OnFallback; f != nil {
		for _, p := range w.over[w.told:] {
			f(p.name, p.reason, to)
		}
	}
	w.told = len(w.over)
}

// teller is the Observer that tells a client what happened before somebody answered.
type teller struct {
	extproc.Observer // nil when nobody else observes
	over             []passed
	first            *airoute.Target // a pool that Envoy tries first and nobody tells of; or nil
	tries            interface{ Take(id string) []string }
	id               string
	by               string
}

// ReadHeaders implements extproc.HeaderReader.
func (t *teller) ReadHeaders(get func(string) string) {
	t.by = get(BackendHeader)
	if r, ok := t.Observer.(extproc.HeaderReader); ok {
		r.ReadHeaders(get)
	}
}

// ResponseHeaders implements extproc.Observer.
func (t *teller) ResponseHeaders(now time.Time, status int, served string) (set []extproc.Header) {
	if t.Observer != nil {
		set = t.Observer.ResponseHeaders(now, status, served)
	}
	var all []string
	for _, p := range t.over {
		all = append(all, p.name+": "+p.reason)
	}
	if t.first != nil && t.by != "" && !mine(*t.first, t.by) {
		all = append(all, name(*t.first)+": "+reasonFailed)
	}
	if t.tries != nil {
		all = append(all, t.before(t.tries.Take(t.id), status)...)
	}
	if value := printable(all); value != "" {
		set = append(slices.Clip(set), extproc.Header{Name: FallbackHeader, Value: value})
	}
	return set
}

// before are the tries before the one that the client gets the answer of.
func (t *teller) before(tries []string, status int) []string {
	if n := len(tries); n > 0 && status >= 400 && t.by != "" {
		if what, ok := strings.CutPrefix(tries[n-1], t.by+": "); ok && what != "" && what[0] >= '0' && what[0] <= '9' {
			return tries[:n-1]
		}
	}
	return tries
}

// printable joins what happened, in printable ASCII and up to maxFallback bytes.
func printable(all []string) string {
	var b strings.Builder
	for i, s := range all {
		if i > 0 {
			b.WriteString("; ")
		}
		for k := 0; k < len(s) && b.Len() < maxFallback; k++ {
			if c := s[k]; c >= ' ' && c <= '~' {
				b.WriteByte(c)
			} else {
				b.WriteByte('?')
			}
		}
		if b.Len() >= maxFallback {
			return b.String()[:maxFallback-3] + "..."
		}
	}
	return b.String()
}

// SkipsBody implements extproc.BodySkipper.
func (t *teller) SkipsBody() bool {
	s, ok := t.Observer.(extproc.BodySkipper)
	return t.Observer == nil || ok && s.SkipsBody()
}

// FirstToken implements extproc.Observer.
func (t *teller) FirstToken(now time.Time) {
	if t.Observer != nil {
		t.Observer.FirstToken(now)
	}
}

// ResponseMetadata implements extproc.MetadataTeller.
func (t *teller) ResponseMetadata(u observe.Usage) []byte {
	if o, ok := t.Observer.(extproc.MetadataTeller); ok {
		return o.ResponseMetadata(u)
	}
	return nil
}

// End implements extproc.Observer.
func (t *teller) End(now time.Time, o extproc.Outcome) {
	if t.Observer != nil {
		t.Observer.End(now, o)
	}
}
