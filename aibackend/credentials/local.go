package credentials

import (
	"context"
	"strings"
	"sync"
)

// passive is what the credentials share that have nothing to refresh.
type passive struct {
	opaque
	once   sync.Once
	closed chan struct{}
}

func (p *passive) Run(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-p.closed:
	}
}

func (p *passive) Reload() {}

func (p *passive) Close() { p.once.Do(func() { close(p.closed) }) }

func (p *passive) Status() Status {
	if p.over() {
		return Status{Reason: ReasonClosed, Message: closedMessage}
	}
	return Status{Ready: true, Reason: ReasonReady}
}

func (p *passive) over() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

const closedMessage = "the credential is no longer in use"

// noCredential removes what others left.
type noCredential struct{ passive }

func (n *noCredential) Sign(_ context.Context, r *Request) error {
	Strip(r.Headers)
	if n.over() {
		return failf(ReasonClosed, closedMessage)
	}
	return nil
}

func (n *noCredential) Carries() []string { return nil }

// passOn passes the client's own credential on.
type passOn struct {
	passive
	from, as, trim, prefix string
}

func newPassive() passive { return passive{closed: make(chan struct{})} }

func newPassOn(c FromRequestHeader) (Credential, *Error) {
	p := &passOn{passive: newPassive(), from: strings.ToLower(c.Header), as: strings.ToLower(c.As), trim: c.TrimPrefix, prefix: c.Prefix}
	if p.as == "" {
		p.as = p.from
	}
	for _, name := range []string{p.from, p.as} {
		if err := checkHeaderName(name); err != nil {
			return nil, err
		}
	}
	if wrong := prefixProblem(p.prefix); wrong != "" {
		return nil, failf(ReasonInvalidConfig, "the prefix for header %s %s", p.as, wrong)
	}
	return p, nil
}

func (p *passOn) Carries() []string { return []string{p.from, p.as} }

// Sign reads the client's header before it removes all others. A value of several
// lines, or one that is not ASCII, counts as missing.
func (p *passOn) Sign(_ context.Context, r *Request) error {
	get := r.Client
	if get == nil {
		get = r.Headers.Get
	}
	value := strings.TrimSpace(get(p.from))
	Strip(r.Headers, p.from, p.as)
	if p.over() {
		return failf(ReasonClosed, closedMessage)
	}
	// The blank stands for one that ended a bare "Bearer ".
	if n, padded := len(p.trim), value+" "; len(padded) >= n && strings.EqualFold(padded[:n], p.trim) {
		value = strings.TrimSpace(padded[n:])
	}
	if value == "" {
		return failf(ReasonMissing, "the request has no credential in header %q; this backend passes the client's own credential on, so send it there", p.from)
	}
	if !headerText(value) {
		return failf(ReasonMissing, "the credential in header %q holds a character that cannot be in a header", p.from)
	}
	r.Headers.Set(p.as, p.prefix+value)
	return nil
}

// headerText says whether s is printable ASCII.
func headerText(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > 0x7e {
			return false
		}
	}
	return true
}

func prefixProblem(prefix string) string {
	if len(prefix) > 64 || !headerText(prefix) {
		return "must be printable ASCII of at most 64 characters"
	}
	return ""
}

// checkHeaderName refuses names that are no header's, and those that say how the
// request is sent rather than what it carries.
func checkHeaderName(name string) *Error {
	if name == "" || len(name) > 128 {
		return failf(ReasonInvalidConfig, "a credential's header needs a name of at most 128 characters")
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return failf(ReasonInvalidConfig, "%q is not a header's name", name)
		}
	}
	switch name {
	case "host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "keep-alive",
		"upgrade", "te", "trailer", "expect", "accept-encoding":
		return failf(ReasonInvalidConfig, "header %s cannot carry a credential", name)
	}
	if strings.HasPrefix(name, "x-envoy-") || strings.HasPrefix(name, "x-fairway-") {
		return failf(ReasonInvalidConfig, "header %s is reserved for the gateway", name)
	}
	return nil
}
