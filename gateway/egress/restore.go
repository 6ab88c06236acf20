package egress

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/scan"
)

// restored is a try at a pool after one at a provider: the request goes there as the
// client sent it but for the model's name, and above all without the provider's
// credential. It is an extproc.Exchange.
type restored struct {
	ctx      context.Context
	pool     string
	headers  []extproc.Header
	original Original
	body     mem.BufferSlice
}

var errNoOriginal = errors.New("the request before it was changed is not known; nothing is sent")

// RequestHeaders implements extproc.Exchange.
func (t *restored) RequestHeaders(h extproc.Head) error {
	t.headers = append(t.headers, h.Headers...)
	o, ok, err := readOriginal(h.Metadata)
	if err != nil {
		return err
	}
	if !ok || o.Headers == nil {
		return errNoOriginal
	}
	t.original = o
	return nil
}

// RequestBody implements extproc.Exchange.
func (t *restored) RequestBody(part mem.BufferSlice, _ bool) { t.body = append(t.body, part...) }

// Decide implements extproc.Exchange. The body is Envoy's copy of what went to the
// first try, or would have; saying so again gives it its length back.
func (t *restored) Decide(func(time.Duration) error) (extproc.Change, error) {
	if model := t.original.modelFor(t.pool); model != "" {
		r, err := scanned(t.body, t.original.Path, getter(t.original.Headers).Get("content-type"))
		if err != nil {
			return extproc.Change{}, err
		}
		t.body = extproc.ReplaceModel(t.body, r.ModelStart, r.ModelEnd, model, r.Form)
	}
	out := newOutgoing(t.headers, t.original.Headers)
	out.Remove("transfer-encoding")
	c := extproc.Change{BodyChanged: true, Body: t.body}
	c.SetHeaders, c.RemoveHeaders = out.mutation()
	t.body = nil
	return c, nil
}

// scanned says where the model's name is in the body of a request to that path; it
// starts where it ends if there is none.
func scanned(body mem.BufferSlice, path, contentType string) (*scan.Result, error) {
	api := scan.APIFromPath(path)
	if api == scan.Other {
		return &scan.Result{}, nil
	}
	s := scan.New(scan.Options{})
	s.Reset(api)
	if err := s.ContentType(contentType); err != nil {
		return nil, err
	}
	for _, b := range body {
		if err := s.Write(b.ReadOnlyData()); err != nil {
			return nil, err
		}
	}
	return s.Finish()
}

// ResponseHeaders implements extproc.Exchange.
func (*restored) ResponseHeaders(extproc.Head, func(time.Duration) error) extproc.Change {
	return extproc.Change{}
}

// ResponseBody implements extproc.Exchange.
func (*restored) ResponseBody(part mem.BufferSlice, _, _ bool, _ func(time.Duration) error) extproc.Change {
	part.Free()
	return extproc.Change{}
}

// WantsResponse implements extproc.Exchange.
func (*restored) WantsResponse() (headers, body bool) { return false, false }

// Close implements extproc.Exchange.
func (t *restored) Close(bool) { t.body.Free() }
