package extproc

import (
	"strconv"
	"strings"

	"google.golang.org/grpc/mem"

	"github.com/fairway-ai/fairway/extproc/observe"
)

// responseState is a stream's response.
type responseState struct {
	seen   bool // headers arrived
	ended  bool
	status int
	// streamed is true for server-sent events.
	streamed bool
	// watch follows the body; nil when nobody cares or it is encoded.
	watch      *observe.Observer
	sawBody    bool
	firstToken bool
	bytes      int64
	// set are the picker's headers for the response.
	set []Header
	// length is what content-length says when lengthKnown; kept for foreign pickers.
	length      int64
	lengthKnown bool
}

func (st *stream) responseHeaders() error {
	r := &st.response
	if r.seen {
		return protocolError("a second response headers message")
	}
	r.seen = true
	if st.request.phase == phaseBody {
		// A filter or the proxy itself answered before the request was complete:
		// there is nothing to pick for any more.
		st.request.phase = phasePicked
		st.releaseScanner()
		st.request.body.release(st.srv)
	}
	h := &st.headers
	if err := st.in.headers(h); err != nil {
		return protocolError("response headers: " + err.Error())
	}
	r.status, _ = strconv.Atoi(h.Get(":status"))
	r.streamed = eventStream(h.Get("content-type"))
	st.change.reset()
	if st.observer != nil {
		served, err := st.in.served()
		if err != nil {
			return protocolError("metadata: " + err.Error())
		}
		if enc := h.Get("content-encoding"); enc == "" || strings.EqualFold(enc, "identity") {
			r.watch = st.srv.observers.Get().(*observe.Observer)
			r.watch.Reset(r.streamed)
		}
		if o, ok := st.observer.(HeaderReader); ok {
			o.ReadHeaders(h.Get)
		}
		st.setResponse(st.observer.ResponseHeaders(st.srv.opts.Now(), r.status, served))
	} else {
		// Nobody needs the body. Envoy can be told so only in this arrangement.
		st.change.skipResponseBody = st.requestMode == modeBuffered && st.responseMode == modeStreamed && !st.in.endOfStream
	}
	st.setResponse(r.set)
	r.set = nil
	if id := st.request.id; id != "" && h.Get(RequestIDHeader) == "" && settable(Header{RequestIDHeader, id}) {
		st.change.set = append(st.change.set, Header{RequestIDHeader, id})
	}
	err := st.proceed(kindResponseHeaders, &st.change)
	st.change.reset()
	st.headers.reset()
	if st.in.endOfStream {
		st.endResponse()
	}
	return err
}

func (st *stream) setResponse(set []Header) {
	for _, h := range set {
		if settable(h) {
			st.change.set = append(st.change.set, h)
		}
	}
}

// eventStream reports whether a content type is that of server-sent events.
func eventStream(contentType string) bool {
	mediaType, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), "text/event-stream")
}

func (st *stream) responseBody() error {
	r := &st.response
	if !r.seen {
		return protocolError("a response body before its headers")
	}
	if r.ended {
		return protocolError("a response body after its end")
	}
	r.sawBody = true
	// The answer goes first: nobody should wait for our accounting.
	var err error
	if st.responseMode == modeDuplex {
		err = st.echo(kindResponseBody, st.in.endOfStream)
	} else {
		err = st.proceed(kindResponseBody, &mutation{})
	}
	st.observeBody()
	if st.in.endOfStream {
		st.endResponse()
	}
	return err
}

func (st *stream) observeBody() {
	r := &st.response
	if st.observer == nil || st.in.payload.n == 0 {
		return
	}
	r.bytes += int64(st.in.payload.n)
	first := r.watch == nil || !r.streamed
	if r.watch != nil {
		_ = st.in.pieces(st.in.payload, func(b mem.Buffer, lo, hi int) error {
			if r.watch.Write(b.ReadOnlyData()[lo:hi]) && r.streamed {
				first = true
			}
			return nil
		})
	}
	if first && !r.firstToken {
		r.firstToken = true
		st.observer.FirstToken(st.srv.opts.Now())
	}
}

func (st *stream) responseTrailers() error {
	r := &st.response
	if !r.seen {
		return protocolError("response trailers before the headers")
	}
	if r.ended {
		return protocolError("response trailers after the end")
	}
	e, buf := st.encode()
	e.trailers(kindResponseTrailers, &mutation{})
	err := st.send(e, buf)
	st.endResponse()
	return err
}

// endResponse is called when the last of the response was seen.
func (st *stream) endResponse() {
	st.response.ended = true
	st.end(true)
}
