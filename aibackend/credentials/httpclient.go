package credentials

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
)

// maxAnswer bounds what is read of an identity provider's answer, in bytes.
const maxAnswer = 1 << 20

var errAnswerTooLong = errors.New("answer too long")

// bounded returns a client like c that reads at most maxAnswer bytes of an answer
// and follows no redirect: a token request goes to the host it was meant for.
func bounded(c *http.Client) *http.Client {
	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	return &http.Client{
		Transport:     boundedTransport{next},
		Timeout:       c.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type boundedTransport struct{ next http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = &boundedBody{ReadCloser: res.Body, left: maxAnswer}
	return res, nil
}

// boundedBody fails, rather than ends, at its bound: a cut answer must not look
// like a whole one.
type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, errAnswerTooLong
	}
	return n, err
}

// onePass is a client for one fetch by an SDK that makes requests without the
// context it was given, or that keeps of an error only its text.
type onePass struct {
	ctx  context.Context
	next http.RoundTripper
	mu   sync.Mutex
	err  error
}

// forOneFetch returns a client like c whose requests end with ctx.
func forOneFetch(ctx context.Context, c *http.Client) (*http.Client, *onePass) {
	p := &onePass{ctx: ctx, next: c.Transport}
	return &http.Client{Transport: p, Timeout: c.Timeout, CheckRedirect: c.CheckRedirect}, p
}

// RoundTrip implements http.RoundTripper.
func (p *onePass) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Context().Done() == nil {
		r = r.WithContext(p.ctx)
	}
	res, err := p.next.RoundTrip(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = nil
	if err != nil {
		p.err = &url.Error{Op: r.Method, URL: r.URL.String(), Err: err}
	}
	return res, err
}

// trouble says why the last request got no answer, or what is to be said of err if
// it got one.
func (p *onePass) trouble(err error) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return transportTrouble(p.err)
	}
	return transportTrouble(err)
}
