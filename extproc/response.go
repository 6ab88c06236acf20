package extproc

import (
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/fairway-ai/fairway/extproc/observe"
	"github.com/fairway-ai/fairway/extproc/scan"
)

// responseState is a stream's response.
type responseState struct {
	seen   bool // headers arrived
	ended  bool
	status int
	// streamed is true for server-sent events, and for messages if a stream of them was
	// asked for; messages is true for those of a gRPC call that is read.
	streamed, messages bool
	// watch follows the body; nil when nobody cares or it is encoded.
	watch      *observe.Observer
	sawBody    bool
	skipped    bool // the observer does not want the body
	firstToken bool
	bytes      int64
	// headersAt is when the headers came; processing is the time that its messages
	// took so far.
	headersAt  time.Time
	processing time.Duration
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
	r.headersAt = st.srv.opts.Now()
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
	st.readStatus(h)
	st.change.reset()
	watched, err := st.observeHeaders()
	if err != nil {
		return err
	}
	// Where nobody needs the body, Envoy can be told so only in this arrangement.
	asks := st.requestMode == modeBuffered && st.responseMode == modeStreamed && !st.in.endOfStream
	st.change.skipResponseBody = asks && !watched
	st.change.wantTrailers = asks && r.messages
	if id := st.request.id; id != "" && h.Get(RequestIDHeader) == "" && settable(Header{RequestIDHeader, id}) {
		st.change.set = append(st.change.set, Header{RequestIDHeader, id})
	}
	err = st.proceed(kindResponseHeaders, &st.change)
	st.change.reset()
	st.headers.reset()
	r.processing += st.srv.opts.Now().Sub(r.headersAt)
	if st.in.endOfStream {
		st.endResponse()
	}
	return err
}

// observeHeaders tells the observer of the response's headers and notes what it and
// the picker want set. It reports whether the observer wants the body, too.
func (st *stream) observeHeaders() (watched bool, err error) {
	r := &st.response
	h := &st.headers
	if o := st.observer; o != nil {
		served, err := st.in.served()
		if err != nil {
			return false, protocolError("metadata: " + err.Error())
		}
		contentType := h.Get("content-type")
		r.streamed = eventStream(contentType)
		if st.request.call != scan.NoCall {
			_, r.messages = scan.IsGRPC(contentType)
			r.streamed = r.streamed || r.messages && st.request.stream
		}
		if reader, ok := o.(HeaderReader); ok {
			reader.ReadHeaders(h.Get)
		}
		st.setResponse(o.ResponseHeaders(st.srv.opts.Now(), r.status, served))
		skipper, ok := o.(BodySkipper)
		r.skipped = ok && skipper.SkipsBody()
		watched = !r.skipped
		if enc := h.Get("content-encoding"); watched && (enc == "" || strings.EqualFold(enc, "identity")) {
			r.watch = st.srv.observers.Get().(*observe.Observer)
			if r.messages {
				r.watch.ResetCall(st.request.call, r.streamed)
			} else {
				r.watch.Reset(r.streamed)
			}
		}
	}
	st.setResponse(r.set)
	r.set = nil
	return watched, nil
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
	began := st.srv.opts.Now()
	r.sawBody = true
	r.bytes += int64(st.in.payload.n)
	// The answer goes first: nobody should wait for our accounting, unless it is told.
	var err error
	switch {
	case st.tells():
		st.observeBody()
		err = st.passBody(st.tell())
	default:
		err = st.passBody(nil)
		st.observeBody()
	}
	r.processing += st.srv.opts.Now().Sub(began)
	if st.in.endOfStream {
		st.endResponse()
	}
	return err
}

// passBody answers the response body message at hand without a change, with metadata.
func (st *stream) passBody(metadata []byte) error {
	if st.responseMode == modeDuplex {
		return st.echo(kindResponseBody, st.in.endOfStream, metadata)
	}
	return st.proceed(kindResponseBody, &mutation{metadata: metadata})
}

func (st *stream) observeBody() {
	r := &st.response
	if st.observer == nil || r.skipped || st.in.payload.n == 0 {
		return
	}
	first, before := r.watch == nil || !r.streamed, int64(0)
	if r.watch != nil {
		before = r.watch.Chunks()
	}
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
	if r.streamed && r.watch != nil && r.watch.Chunks() > before {
		if o, ok := st.observer.(TokenTimer); ok {
			o.Tokens(st.srv.opts.Now())
		}
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
	if st.request.grpc {
		if err := st.in.headers(&st.headers); err != nil {
			return protocolError("response trailers: " + err.Error())
		}
		st.readStatus(&st.headers)
		st.headers.reset()
	}
	e, buf := st.encode()
	e.trailers(kindResponseTrailers, &mutation{metadata: st.tell()})
	err := st.send(e, buf)
	st.endResponse()
	return err
}

// endResponse is called when the last of the response was seen.
func (st *stream) endResponse() {
	st.response.ended = true
	st.end(true)
}
