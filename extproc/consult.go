package extproc

import (
	"errors"

	"google.golang.org/grpc/mem"

	"github.com/fairway-ai/fairway/extproc/scan"
)

// Head is the request's head as a picker of somebody else is to see it; End is for the
// caller to set. It is made when asked for, and valid until Pick returns.
func (r *Request) Head() Head {
	if r.headers == nil {
		return Head{Headers: foreignHeaders(nil, r.ID)}
	}
	h := Head{Headers: foreignHeaders(r.headers.list, r.ID)}
	if st := r.from; st != nil {
		h.Metadata, h.Attributes = st.request.metadata, st.request.attributes
	}
	return h
}

// BodyParts returns references to the body's bytes, which are the caller's to free,
// with the model's name replaced unless model is "". ok is false when they are not at
// hand: the request has no body, its path is no AI API, or bodies come in parts that
// are not kept.
func (r *Request) BodyParts(model string) (parts mem.BufferSlice, ok bool) {
	if r.from == nil {
		return nil, false
	}
	if parts, ok = r.from.wholeBody(); ok && model != "" {
		parts = ReplaceModel(parts, r.Body.ModelStart, r.Body.ModelEnd, model, r.Body.Form)
	}
	return parts, ok
}

// WithBody calls f with the body in one piece, as the client sent it, and reports
// whether it is at hand; see BodyParts. The bytes are valid during the call. A body
// that came in several pieces is put together for it.
func (r *Request) WithBody(f func(body []byte)) bool {
	st := r.from
	if st == nil {
		if r.body != nil {
			f(r.body)
		}
		return r.body != nil
	}
	var one []byte
	var whole *[]byte
	add := func(b []byte) {
		switch {
		case whole != nil:
			*whole = append(*whole, b...)
		case one == nil:
			one = b
		default:
			whole = mem.DefaultBufferPool().Get(int(r.BodyBytes))
			*whole = append(append((*whole)[:0], one...), b...)
		}
	}
	if !st.eachPiece(add) {
		return false
	}
	if whole != nil {
		defer mem.DefaultBufferPool().Put(whole)
		one = *whole
	}
	f(one)
	return true
}

// SetBody sets the body that WithBody has of a request which is not the server's.
func (r *Request) SetBody(body []byte) { r.body = body }

// keepHead keeps what Head will need of the headers message at hand.
func (st *stream) keepHead() error {
	r := &st.request
	md, err := st.in.bytes(st.in.metadata)
	if err != nil {
		return protocolError("metadata: " + err.Error())
	}
	r.metadata = append(r.metadata[:0], md...)
	if r.attributes, err = st.in.attributes(); err != nil {
		return protocolError("attributes: " + err.Error())
	}
	return nil
}

// wholeBody returns references to all of the request's body, as it waits for the pick.
func (st *stream) wholeBody() (parts mem.BufferSlice, ok bool) {
	switch {
	case st.in.kind == kindRequestHeaders:
		return nil, false
	case st.request.flow == flowDuplex:
		st.request.body.flush()
		for _, b := range st.request.body.pieces {
			parts = append(parts, b.Slice(0, b.Len()))
		}
		return parts, true
	case st.in.kind == kindRequestBody && (st.requestMode == modeBuffered || st.requestMode == modePartial):
		return st.in.body(), true
	}
	return nil, false
}

// eachPiece calls f with each part of the request's body, in order and valid until the
// pick has been answered; it reports false when the body is not at hand.
func (st *stream) eachPiece(f func([]byte)) bool {
	switch {
	case st.in.kind == kindRequestHeaders:
		return false
	case st.request.flow == flowDuplex:
		st.request.body.flush()
		for _, b := range st.request.body.pieces {
			f(b.ReadOnlyData())
		}
		return true
	case st.in.kind == kindRequestBody && (st.requestMode == modeBuffered || st.requestMode == modePartial && st.in.endOfStream):
		_ = st.in.pieces(st.in.payload, func(b mem.Buffer, lo, hi int) error {
			f(b.ReadOnlyData()[lo:hi])
			return nil
		})
		return true
	}
	return false
}

var errModelStays = errors.New("the picker replaces the model's name, which takes request_body_mode BUFFERED or FULL_DUPLEX_STREAMED")

// modelPlace is where a body has the model's name.
type modelPlace struct {
	start, end int64
	form       bool
	// fixed says that there is one, where it cannot be replaced.
	fixed bool
}

func placeOfModel(r *scan.Result) modelPlace {
	return modelPlace{r.ModelStart, r.ModelEnd, r.Form, r.GRPC && r.Model != ""}
}

// changeOf is what a pick changes beyond headers and metadata, nil for nothing.
func (st *stream) changeOf(p *Pick, at modelPlace) (*Change, error) {
	c := p.Change
	if p.Model != "" && at.fixed {
		return c, ModelInMessage()
	}
	if p.Model == "" || at.start == at.end || c != nil && (c.BodyChanged || c.Immediate != nil) {
		return c, nil
	}
	body, ok := st.wholeBody()
	if !ok || st.requestMode == modePartial {
		body.Free()
		return c, errModelStays
	}
	if c == nil {
		c = &Change{}
	}
	c.BodyChanged, c.Body = true, ReplaceModel(body, at.start, at.end, p.Model, at.form)
	return c, nil
}

// ReplaceModel puts a model's name in the place of what a body has from start to end,
// a JSON string or, in a form, plain text, and leaves all other bytes as they are; with
// start at end, there is none. It takes over the references and returns others.
func ReplaceModel(body mem.BufferSlice, start, end int64, model string, form bool) mem.BufferSlice {
	if start == end {
		return body
	}
	out := make(mem.BufferSlice, 0, len(body)+2)
	name := mem.SliceBuffer(model)
	if !form {
		name = marshal(model)
	}
	lo, hi, pos, done := int(start), int(end), 0, false
	for _, b := range body {
		n := b.Len()
		if pos+n <= lo {
			out = append(out, b)
			pos += n
			continue
		}
		if lo > pos {
			out = append(out, b.Slice(0, lo-pos))
		}
		if !done {
			out, done = append(out, name), true
		}
		if from := max(hi-pos, 0); from < n {
			out = append(out, b.Slice(from, n))
		}
		b.Free()
		pos += n
	}
	return out
}
