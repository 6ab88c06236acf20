package rewrite

import (
	"strings"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/fairway-ai/fairway/extproc"
)

// Restorer restores the model's name in the response of one request. It is an
// [extproc.Exchange] for a pick whose request has nothing left to ask.
type Restorer struct {
	sent, asked string
	// active is false when the response is none that has a name.
	active bool
	names  *Names // nil before the response's headers
}

var _ extproc.Exchange = (*Restorer)(nil)

// NewRestorer returns what gives the client the name it asked for where the model server
// says the one it was sent.
func NewRestorer(sent, asked string) *Restorer {
	return &Restorer{sent: sent, asked: asked, active: true}
}

// RequestHeaders implements extproc.Exchange.
func (r *Restorer) RequestHeaders(extproc.Head) error { return nil }

// RequestBody implements extproc.Exchange.
func (r *Restorer) RequestBody(part mem.BufferSlice, _ bool) { part.Free() }

// Decide implements extproc.Exchange.
func (r *Restorer) Decide(func(time.Duration) error) (extproc.Change, error) {
	return extproc.Change{}, nil
}

// ResponseHeaders implements extproc.Exchange: only JSON and events that are not
// encoded are looked at.
func (r *Restorer) ResponseHeaders(h extproc.Head, _ func(time.Duration) error) extproc.Change {
	var contentType, encoding string
	for _, header := range h.Headers {
		switch header.Name {
		case "content-type":
			contentType = header.Value
		case "content-encoding":
			encoding = header.Value
		}
	}
	mediaType, _, _ := strings.Cut(contentType, ";")
	mediaType = strings.ToLower(strings.TrimSpace(mediaType))
	stream := mediaType == "text/event-stream"
	r.active = !h.End && (stream || mediaType == "application/json") && (encoding == "" || strings.EqualFold(encoding, "identity"))
	if r.active {
		r.names = NewNames(r.sent, r.asked, stream)
	}
	return extproc.Change{}
}

// ResponseBody implements extproc.Exchange. The beginning of a name is kept even where
// the end may not be seen: an answer that ends there is broken.
func (r *Restorer) ResponseBody(part mem.BufferSlice, end, _ bool, _ func(time.Duration) error) extproc.Change {
	defer part.Free()
	if !r.active || r.names == nil {
		return extproc.Change{}
	}
	out := make([]byte, 0, part.Len()+len(r.asked)+len(r.names.kept))
	for _, b := range part {
		out = r.names.Append(out, b.ReadOnlyData())
	}
	if end {
		out = r.names.End(out)
	}
	c := extproc.Change{BodyChanged: true}
	if len(out) > 0 {
		c.Body = mem.BufferSlice{mem.SliceBuffer(out)}
	}
	return c
}

// WantsResponse implements extproc.Exchange.
func (r *Restorer) WantsResponse() (headers, body bool) { return r.active, r.active }

// Close implements extproc.Exchange.
func (r *Restorer) Close(bool) { r.active = false }
