package egress

import (
	"context"
	"errors"
	"slices"
	"strconv"
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
	asked   string   // the backend's name
	name    string   // and its label
	backend *Backend // nil when there is none of the name

	headers  []extproc.Header
	original Original
	body     mem.BufferSlice
	whole    []byte // the body in one piece, as long as exchange needs it

	exchange aibackend.Exchange
	dropped  []string
	refusals int
	closed   bool
	// promised is set while the client may have been told of a success that only the
	// end of the answer can confirm; failed, when the answer was found to be an error,
	// after which surplus more bytes of it came.
	promised, failed bool
	surplus          int
	// The rest is for the outcome.
	sentModel              string
	stream, complete       bool
	status                 int
	errorCode              string
	began, sent, firstByte time.Time
	ledger                 ledger
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
	if b := t.of.find(t.asked); b != nil {
		t.backend = b // which may have changed while the body came
	}
	if t.backend == nil {
		return t.refuse(&chat.Error{Status: 503, Code: "backend_not_found", Message: "the backend is not configured, or is so no longer"}), nil
	}
	provider := t.backend.Provider
	if provider.Model == "" {
		provider.Model = t.original.Model
	}
	provider.Budget = t.of.Budget
	exchange, refusal := aibackend.NewExchange(t.original.Path, getter(t.original.Headers), t.whole, provider)
	if refusal != nil {
		return t.refused(refusal.Status, refusal.Body), nil
	}
	r := exchange.Request()
	t.dropped, t.sentModel, t.stream = r.Dropped, r.Model, r.Stream
	body, refused := t.edit(r.Body)
	if refused != nil {
		exchange.Close()
		return t.refuse(refused), nil
	}
	r.Body = body
	out := newOutgoing(t.headers, t.original.Headers)
	credentials.Strip(out)
	if t.backend.Pool == "" {
		out.removeOfProxies()
	}
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
	if t.backend.Host != "" {
		out.Set(":authority", t.backend.Host)
	}
	if t.backend.Signer != nil {
		err := t.backend.Signer.Sign(t.ctx, &credentials.Request{
			Method: r.Method, Host: out.Get(":authority"), Path: r.Path, Headers: out, Body: r.Body, Client: t.clientHeader,
		})
		if err != nil {
			exchange.Close()
			return t.unsigned(err)
		}
	}
	t.exchange, t.sent = exchange, t.of.now()
	c := extproc.Change{BodyChanged: true, Body: mem.BufferSlice{mem.SliceBuffer(r.Body)}}
	c.SetHeaders, c.RemoveHeaders = out.mutation()
	return c, nil
}

// edit sets and takes out the fields of a body that the backend wants so. A body
// without fields stays as it is, and the client is told.
func (t *try) edit(body []byte) ([]byte, *chat.Error) {
	b := t.backend
	if len(b.SetBody)+len(b.RemoveBody) == 0 {
		return body, nil
	}
	edited, err := aibackend.EditBody(body, b.SetBody, b.RemoveBody)
	switch {
	case err == nil:
		return edited, nil
	case errors.Is(err, aibackend.ErrNotObject):
		t.dropped = slices.Clip(t.dropped)
		for _, f := range b.SetBody {
			t.dropped = append(t.dropped, f.Name)
		}
		t.dropped = append(t.dropped, b.RemoveBody...)
		return body, nil
	}
	return nil, chat.Invalid("body", "%v", err)
}

// unsigned tells a client no more than that the gateway lacks what the provider
// wants: why is the operator's to know.
func (t *try) unsigned(err error) (extproc.Change, error) {
	if t.ctx.Err() != nil { // nobody waits for it any more
		return extproc.Change{}, t.ctx.Err()
	}
	t.of.log().Warn("a request could not be signed and was refused", "backend", t.name, "error", err)
	return t.refuse(&chat.Error{
		Status: 401, Code: "credential_unavailable",
		Message: "the gateway has no valid credential for backend " + strconv.Quote(t.name) + "; its operator finds the reason in the gateway's log",
	}), nil
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
	t.refusals++
	if x := t.of.Observer; x != nil {
		o := t.outcome()
		o.Status = status
		x.Refused(o)
	}
	return t.immediate(status, body)
}

// immediate answers in place of the backend.
func (t *try) immediate(status int, body []byte) extproc.Change {
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

// WantsResponse implements extproc.Exchange.
func (t *try) WantsResponse() (headers, body bool) { return t.exchange != nil, t.exchange != nil }

// Close implements extproc.Exchange.
func (t *try) Close(complete bool) {
	if t.closed {
		return
	}
	t.closed, t.complete = true, complete
	t.body.Free()
	if tries := t.of.Tries; tries != nil && t.backend != nil && t.status == 0 && t.refusals == 0 {
		tries.Unanswered(t.id(), t.name)
	}
	if t.exchange == nil {
		return
	}
	if o := t.of.Observer; o != nil {
		o.Answered(t.outcome())
	}
	t.exchange.Close()
	t.whole = nil
}
