package extproc

import (
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc/mem"
)

// head returns the head of the headers message at hand.
func (st *stream) head(headers []Header, end bool) (Head, error) {
	h := Head{Headers: headers, End: end}
	md, err := st.in.bytes(st.in.metadata)
	if err != nil {
		return h, protocolError("metadata: " + err.Error())
	}
	h.Metadata = append([]byte(nil), md...)
	if h.Attributes, err = st.in.attributes(); err != nil {
		return h, protocolError("attributes: " + err.Error())
	}
	return h, nil
}

// handleForeign handles a message after the request's headers, of a pool with a
// foreign picker.
func (st *stream) handleForeign() error {
	switch st.in.kind {
	case kindRequestHeaders:
		return protocolError("a second request headers message")
	case kindRequestBody:
		return st.foreignRequestBody()
	case kindRequestTrailers:
		return st.foreignRequestTrailers()
	case kindResponseHeaders:
		return st.foreignResponseHeaders()
	case kindResponseBody:
		return st.foreignResponseBody()
	case kindResponseTrailers:
		return st.foreignResponseTrailers()
	}
	return nil
}

// foreignRequestHeaders goes on with requestHeaders where a foreign picker answers
// for the pool. Unlike our own, it is asked with every header that steers pickers,
// and itself removes those that servers must not see.
func (st *stream) foreignRequestHeaders(length int64) error {
	r := &st.request
	q := &r.view
	headers := foreignHeaders(st.headers.list, q.ID)
	st.change.remove = slices.DeleteFunc(st.change.remove, func(name string) bool { return !ours(name) })
	// Of a tunnel, and where Envoy sends no body, the picker sees the headers alone.
	blind := st.requestMode == modeNone || tunnel(q)
	if !blind && length > st.srv.opts.MaxBodyBytes {
		return st.reject(tooLarge(st.srv.opts.MaxBodyBytes))
	}
	end := st.in.endOfStream
	h, err := st.head(headers, end || blind)
	if err != nil {
		return err
	}
	*q = Request{}
	if err := st.foreign.RequestHeaders(h); err != nil {
		return st.reject(err)
	}
	st.headers.reset()
	if h.End {
		return st.decide(end)
	}
	if r.flow == flowInline {
		return st.proceed(kindRequestHeaders, &mutation{})
	}
	return nil
}

// ours reports whether a request header is none of a foreign picker's, and goes no
// further whoever answers for the pool.
func ours(name string) bool {
	return name == DestinationHeader || strings.HasPrefix(name, ownPrefix)
}

// foreignHeaders are a request's headers as a foreign picker sees them.
func foreignHeaders(list []Header, id string) []Header {
	headers := make([]Header, 0, len(list)+1)
	sawID := false
	for _, h := range list {
		if ours(h.Name) {
			continue
		}
		sawID = sawID || h.Name == RequestIDHeader && h.Value != ""
		headers = append(headers, h)
	}
	if !sawID {
		headers = append(headers, Header{RequestIDHeader, id})
	}
	return headers
}

func (st *stream) foreignRequestBody() error {
	r := &st.request
	switch r.phase {
	case phaseEnded:
		return protocolError("a request body after its end")
	case phasePicked:
		return st.passRequestBody()
	}
	size := int64(st.in.payload.n)
	if r.bytes+size > st.srv.opts.MaxBodyBytes {
		return st.reject(tooLarge(st.srv.opts.MaxBodyBytes))
	}
	r.bytes += size
	last := st.in.endOfStream || st.requestMode == modeBuffered || st.requestMode == modePartial
	if r.flow == flowDuplex && !r.body.add(st.srv, &st.in) {
		return st.reject(overloaded())
	}
	st.foreign.RequestBody(st.in.body(), last)
	switch {
	case r.flow == flowAhead:
		r.unanswered++
	case r.flow == flowInline && !last:
		return st.proceed(kindRequestBody, &mutation{})
	}
	if !last {
		return nil
	}
	return st.decide(st.in.endOfStream)
}

func (st *stream) foreignRequestTrailers() error {
	r := &st.request
	switch r.phase {
	case phaseEnded:
		return protocolError("request trailers after the end")
	case phaseBody:
		st.foreign.RequestBody(nil, true)
		if err := st.decide(false); err != nil {
			return err
		}
		if r.flow == flowInline {
			r.phase = phaseEnded
			return nil
		}
	}
	r.phase = phaseEnded
	e, buf := st.encode()
	e.trailers(kindRequestTrailers, &mutation{})
	return st.send(e, buf)
}

// decide waits for the picker and answers what waits for it. ended is true when the
// request's last message is at hand.
func (st *stream) decide(ended bool) error {
	r := &st.request
	c, err := st.foreign.Decide(st.hold)
	if err != nil {
		c.Body.Free()
		return st.reject(err)
	}
	r.phase = phasePicked
	if ended {
		r.phase = phaseEnded
	}
	return st.answerChange(&c, ended)
}

// answerChange answers what waits for the pick with the changes noted so far and with
// c, whose body it takes over.
func (st *stream) answerChange(c *Change, ended bool) error {
	r := &st.request
	if c.Immediate != nil {
		return st.immediateAsIs(c)
	}
	k := kindRequestHeaders
	if r.flow == flowInline {
		k = st.in.kind
	}
	body := c.Body
	changed := c.BodyChanged && st.in.kind != kindRequestHeaders
	c.Body, c.BodyChanged = nil, false
	// Only a message that is the whole body can be replaced in its own answer. Of a
	// body that was cut, or sent on in parts, the original goes on.
	inline := changed && k == kindRequestBody && st.requestMode == modeBuffered
	if inline {
		// Envoy refuses a body that is not as long as the header says.
		st.change.set = append(st.change.set, Header{"content-length", strconv.Itoa(body.Len())})
		c.Body, c.BodyChanged, body = body, true, nil
	}
	if changed && r.flow != flowInline {
		// Its length is no longer what was announced.
		st.change.remove = append(st.change.remove, "content-length")
	}
	err := st.proceedChanged(k, &st.change, c, inline)
	st.change.reset()
	if err != nil || st.in.kind == kindRequestHeaders {
		body.Free()
		return err
	}
	switch r.flow {
	case flowAhead:
		return st.answerAhead(changed, body)
	case flowDuplex:
		defer r.body.release(st.srv)
		if changed {
			return st.sendChanged(kindRequestBody, body, ended, nil)
		}
		body.Free()
		return r.body.echo(st, kindRequestBody, ended)
	}
	body.Free()
	return nil
}

// answerAhead answers the body messages that Envoy sent ahead: with nothing, or with
// all of a changed body in the first answer and nothing left in the others.
func (st *stream) answerAhead(changed bool, body mem.BufferSlice) error {
	for r := &st.request; r.unanswered > 0; r.unanswered-- {
		c := Change{BodyChanged: changed, Body: body}
		body = nil
		if err := st.proceedChanged(kindRequestBody, &mutation{}, &c, changed); err != nil {
			return err
		}
	}
	body.Free()
	return nil
}
