package egress

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/extproc"
)

// Headers of answers to clients.
const (
	// BackendHeader names the backend that answered.
	BackendHeader = "x-fairway-backend"
	// DroppedHeader lists the fields of the request that the provider cannot express
	// and does without.
	DroppedHeader = "x-fairway-dropped"
)

// try is one try of one request at one backend. It is an extproc.Exchange.
type try struct {
	ctx     context.Context
	of      *Translators
	name    string
	backend *Backend // nil when there is none of the name

	headers  []extproc.Header
	original Original
	body     mem.BufferSlice
	whole    []byte // the body in one piece, as long as exchange needs it

	exchange aibackend.Exchange
	dropped  []string
	status   int
	closed   bool
}

// RequestHeaders implements extproc.Exchange.
func (t *try) RequestHeaders(h extproc.Head) error {
	t.headers = append(t.headers, h.Headers...) // strings are the stream's own
	o, ok, err := readOriginal(h.Metadata)
	if err != nil {
		return err
	}
	if !ok {
		// Without the first filter's metadata, this is the first try.
		o.Path = t.header(":path")
	}
	if o.Headers == nil {
		o.Headers = t.headers
	}
	t.original = o
	return nil
}

// RequestBody implements extproc.Exchange.
func (t *try) RequestBody(part mem.BufferSlice, _ bool) { t.body = append(t.body, part...) }

// Decide implements extproc.Exchange: it translates and signs, and answers itself
// what it cannot.
func (t *try) Decide(func(time.Duration) error) (extproc.Change, error) {
	t.whole = t.body.Materialize()
	t.body.Free()
	t.body = nil
	if t.backend == nil {
		return t.refuse(&chat.Error{Status: 503, Code: "backend_not_found", Message: "the backend is not configured, or is so no longer"}), nil
	}
	provider := t.backend.Provider
	if provider.Model == "" {
		provider.Model = t.original.Model
	}
	exchange, refusal := aibackend.NewExchange(t.original.Path, getter(t.original.Headers), t.whole, provider)
	if refusal != nil {
		return t.refused(refusal.Status, refusal.Body), nil
	}
	t.exchange = exchange
	r := exchange.Request()
	t.dropped = r.Dropped
	out := newOutgoing(t.headers, t.original.Headers)
	credentials.Strip(out)
	out.removeOfProxies()
	for _, name := range append(r.RemoveHeaders, "transfer-encoding", "content-length") {
		out.Remove(name)
	}
	for _, h := range r.Headers {
		out.Set(h.Name, h.Value)
	}
	for _, name := range t.backend.RemoveHeaders {
		out.Remove(name)
	}
	for _, h := range t.backend.SetHeaders {
		out.Set(h.Name, h.Value)
	}
	for _, h := range t.backend.AddHeaders {
		out.Add(h.Name, h.Value)
	}
	out.Set(":method", r.Method)
	out.Set(":path", r.Path)
	out.Set(":authority", t.backend.Host)
	if t.backend.Signer != nil {
		err := t.backend.Signer.Sign(t.ctx, &credentials.Request{
			Method: r.Method, Host: t.backend.Host, Path: r.Path, Headers: out, Body: r.Body, Client: t.clientHeader,
		})
		if err != nil {
			t.of.log().Warn("a request could not be signed and was refused", "backend", t.name, "error", err)
			return t.refuse(unsigned(t.name)), nil
		}
	}
	c := extproc.Change{BodyChanged: true, Body: mem.BufferSlice{mem.SliceBuffer(r.Body)}}
	c.SetHeaders, c.RemoveHeaders = out.mutation()
	return c, nil
}

// unsigned tells a client no more than that the gateway lacks what the provider
// wants: why is the operator's to know.
func unsigned(backend string) *chat.Error {
	return &chat.Error{
		Status: 401, Code: "credential_unavailable",
		Message: "the gateway has no valid credential for backend " + strconv.Quote(backend) + "; its operator finds the reason in the gateway's log",
	}
}

// clientHeader is a header as the client sent it.
func (t *try) clientHeader(name string) string { return getter(t.original.Headers).Get(name) }

func (t *try) header(name string) string { return getter(t.headers).Get(name) }

// refuse answers in the client's schema.
func (t *try) refuse(e *chat.Error) extproc.Change {
	r := aibackend.Refuse(t.original.Path, e)
	return t.refused(r.Status, r.Body)
}

func (t *try) refused(status int, body []byte) extproc.Change {
	if o := t.of.Observer; o != nil {
		o.Refused(t.name, status)
	}
	answer := &extprocv3.ImmediateResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(status)},
		Headers: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{
			option("content-type", "application/json"), option(BackendHeader, t.name),
		}},
		Body:    body,
		Details: "fairway_refused",
	}
	b, err := proto.Marshal(answer)
	if err != nil { // it holds bytes and valid strings
		return extproc.Change{}
	}
	return extproc.Change{Immediate: b, ImmediateStatus: status}
}

// ResponseHeaders implements extproc.Exchange.
func (t *try) ResponseHeaders(h extproc.Head, _ func(time.Duration) error) extproc.Change {
	if t.exchange == nil {
		return extproc.Change{}
	}
	t.status, _ = strconv.Atoi(getter(h.Headers).Get(":status"))
	head := t.exchange.Response(t.status, getter(h.Headers))
	var c extproc.Change
	c.RemoveHeaders = append(c.RemoveHeaders, head.Remove...)
	for _, name := range providersOwn {
		if getter(h.Headers).index(name) >= 0 {
			c.RemoveHeaders = append(c.RemoveHeaders, name)
		}
	}
	set := func(name, value string) { c.SetHeaders = append(c.SetHeaders, encoded(name, value, false)) }
	if head.Status != t.status && head.Status != 0 {
		set(":status", strconv.Itoa(head.Status))
	}
	for _, h := range head.Set {
		set(h.Name, h.Value)
	}
	set(BackendHeader, t.name)
	if len(t.dropped) > 0 {
		set(DroppedHeader, strings.Join(t.dropped, ", "))
	}
	if h.End { // no body message follows in which the client could be told why
		if out := slices.Clone(t.read(nil, true)); len(out) > 0 {
			c.Replace, c.BodyChanged, c.Body = true, true, mem.BufferSlice{mem.SliceBuffer(out)}
		}
	}
	return c
}

// read gives the exchange a piece of the answer and returns what the client gets.
func (t *try) read(chunk []byte, end bool) []byte {
	out, err := t.exchange.Body(chunk, end)
	if err != nil {
		t.of.log().Warn("a provider's answer is an error", "backend", t.name, "status", t.status, "code", err.Cause.Code)
	}
	return out
}

// ResponseBody implements extproc.Exchange.
func (t *try) ResponseBody(part mem.BufferSlice, end, _ bool, _ func(time.Duration) error) extproc.Change {
	if t.exchange == nil {
		return extproc.Change{BodyChanged: true, Body: part}
	}
	var out []byte
	for i, b := range part {
		out = append(out, t.read(b.ReadOnlyData(), end && i == len(part)-1)...)
	}
	if end && len(part) == 0 {
		out = append(out, t.read(nil, true)...)
	}
	part.Free()
	return extproc.Change{BodyChanged: true, Body: mem.BufferSlice{mem.SliceBuffer(out)}}
}

// WantsResponse implements extproc.Exchange.
func (t *try) WantsResponse() (headers, body bool) { return t.exchange != nil, t.exchange != nil }

// Close implements extproc.Exchange.
func (t *try) Close(complete bool) {
	if t.closed {
		return
	}
	t.closed = true
	t.body.Free()
	if t.exchange == nil {
		return
	}
	if o := t.of.Observer; o != nil {
		o.Answered(t.name, t.status, t.exchange.Usage(), complete)
	}
	t.exchange.Close()
	t.whole = nil
}
