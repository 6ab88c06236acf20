package extproc

import (
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/mem"
)

func (st *stream) foreignResponseHeaders() error {
	r := &st.response
	if r.seen {
		return protocolError("a second response headers message")
	}
	r.seen = true
	if st.request.phase == phaseBody {
		// Somebody answered before the request was complete: there is nothing to pick
		// for any more, and the picker has seen no request that it could follow.
		st.request.phase = phasePicked
		st.request.body.release(st.srv)
		st.foreign.Close(false)
		st.foreign = abandoned{}
	}
	h := &st.headers
	if err := st.in.headers(h); err != nil {
		return protocolError("response headers: " + err.Error())
	}
	defer st.headers.reset()
	r.status, _ = strconv.Atoi(h.Get(":status"))
	r.lengthKnown = h.Get("content-length") != ""
	r.length, _ = strconv.ParseInt(h.Get("content-length"), 10, 64)
	st.change.reset()
	if id := st.request.id; id != "" && h.Get(RequestIDHeader) == "" && settable(Header{RequestIDHeader, id}) {
		st.change.set = append(st.change.set, Header{RequestIDHeader, id})
	}
	watched, err := st.observeHeaders()
	if err != nil {
		return err
	}
	var c Change
	if wanted, _ := st.foreign.WantsResponse(); wanted {
		head, err := st.head(h.list, st.in.endOfStream)
		if err != nil {
			return err
		}
		c = st.foreign.ResponseHeaders(head, st.holdResponse)
	}
	if c.Immediate != nil {
		return st.immediateAsIs(&c)
	}
	if _, body := st.foreign.WantsResponse(); st.in.endOfStream || c.Replace || !body {
		st.change.skipResponseBody = !watched && !st.in.endOfStream && !c.Replace && st.requestMode == modeBuffered && st.responseMode == modeStreamed
	} else if st.responseMode != modeNone {
		// What the picker makes of the body may be of another length.
		st.change.remove = append(st.change.remove, "content-length")
	}
	err = st.proceedChanged(kindResponseHeaders, &st.change, &c, c.Replace)
	st.change.reset()
	if st.in.endOfStream {
		st.endResponse()
	}
	return err
}

func (st *stream) foreignResponseBody() error {
	r := &st.response
	if !r.seen {
		return protocolError("a response body before its headers")
	}
	if r.ended {
		return protocolError("a response body after its end")
	}
	r.sawBody = true
	r.bytes += int64(st.in.payload.n)
	st.observeBody() // of what the server said, whatever the picker makes of it
	end := st.in.endOfStream
	if _, wanted := st.foreign.WantsResponse(); !wanted {
		return st.passResponseBody(end)
	}
	// With trailers, Envoy says of no message that it is the last one, unless it
	// sends those, too. What is kept then would be lost, so something is kept only
	// where the end is certain to be seen.
	last := end || r.lengthKnown && r.bytes >= r.length || st.responseMode == modeBuffered
	mayKeep := r.lengthKnown || st.responseMode == modeDuplex
	c := st.foreign.ResponseBody(st.in.body(), last, mayKeep, st.holdResponse)
	if c.Immediate != nil {
		return st.immediateAsIs(&c)
	}
	var err error
	switch {
	case st.responseMode != modeDuplex:
		// Of a message that is in two parts, the fields are those of both.
		c.Metadata = append(slices.Clip(c.Metadata), st.tell()...)
		err = st.proceedChanged(kindResponseBody, &mutation{}, &c, true)
		if end {
			st.endResponse()
		}
	case c.BodyChanged:
		var metadata []byte
		if end || c.Body.Len() > 0 { // else nothing is sent
			metadata = st.tell()
		}
		err = st.sendChanged(kindResponseBody, c.Body, end, metadata)
		if end {
			st.endResponse()
		}
	default:
		return st.passResponseBody(end)
	}
	return err
}

// passResponseBody answers the body message at hand without a change.
func (st *stream) passResponseBody(end bool) (err error) {
	err = st.passBody(st.tell())
	if end {
		st.endResponse()
	}
	return err
}

func (st *stream) foreignResponseTrailers() error {
	r := &st.response
	if !r.seen {
		return protocolError("response trailers before the headers")
	}
	if r.ended {
		return protocolError("response trailers after the end")
	}
	var c Change
	if _, wanted := st.foreign.WantsResponse(); wanted {
		c = st.foreign.ResponseBody(nil, true, true, st.holdResponse)
		if c.BodyChanged && st.responseMode == modeDuplex {
			body := c.Body
			c.Body = nil
			if err := st.sendChanged(kindResponseBody, body, false, nil); err != nil {
				return err
			}
		}
	}
	err := st.proceedChanged(kindResponseTrailers, &mutation{metadata: st.tell()}, &c, false)
	st.endResponse()
	return err
}

// holdResponse asks the proxy to wait longer for the answer to the response message
// at hand.
func (st *stream) holdResponse(d time.Duration) error {
	if st.responseMode == modeDuplex && st.in.kind != kindResponseHeaders || d <= 0 {
		return nil
	}
	e, buf := st.encode()
	e.messageTimeout(d)
	return st.send(e, buf)
}

// abandoned is the exchange with a picker that was left before it decided.
type abandoned struct{}

func (abandoned) RequestHeaders(Head) error                              { return nil }
func (abandoned) RequestBody(part mem.BufferSlice, _ bool)               { part.Free() }
func (abandoned) Decide(func(time.Duration) error) (Change, error)       { return Change{}, nil }
func (abandoned) ResponseHeaders(Head, func(time.Duration) error) Change { return Change{} }
func (abandoned) WantsResponse() (headers, body bool)                    { return false, false }
func (abandoned) Close(bool)                                             {}
func (abandoned) ResponseBody(part mem.BufferSlice, _, _ bool, _ func(time.Duration) error) Change {
	part.Free()
	return Change{}
}
