package extproc

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/fairway-ai/fairway/extproc/scan"
)

// flow is when a request's messages are answered.
type flow uint8

const (
	// flowInline: headers at once and empty, the pick in the body's answer. For
	// BUFFERED and BUFFERED_PARTIAL, whose only body message it is, and for
	// STREAMED, whose last one it is; there it comes after Envoy has sent the
	// headers on, and only rejections and metadata still count.
	flowInline flow = iota
	// flowAhead: STREAMED with the body sent ahead. The headers' answer waits for
	// the whole body, then every body message is answered. Envoy stops reading at
	// about 1 MB.
	flowAhead
	// flowDuplex: FULL_DUPLEX_STREAMED. The headers' answer waits for the whole
	// body, which then is sent back byte for byte.
	flowDuplex
)

// phase is how far a request is.
type phase uint8

const (
	phaseNew    phase = iota // no headers yet
	phaseBody                // reading the body, not picked
	phasePicked              // picked or, when a response overtook it, given up
	phaseEnded               // all of it seen
)

// requestState is a stream's request.
type requestState struct {
	id     string
	schema schema
	flow   flow
	phase  phase
	api    scan.API
	// call is the gRPC method, of those that are read; grpc is true for any gRPC request.
	call scan.Call
	grpc bool
	// stream is true when the client asked for a stream.
	stream bool
	// held is set once Hold was told to the proxy.
	held bool

	view     Request
	holdFunc func(time.Duration) error

	scanner *scan.Scanner
	// metadata and attributes are the head's, kept where a foreign picker may be asked.
	metadata   []byte
	attributes [][]byte
	bytes      int64 // of the body, so far
	body       heldBody
	// unanswered counts body messages whose answer waits, in flowAhead.
	unanswered int
}

func (r *requestState) reset() {
	kept := r.metadata[:0]
	if cap(kept) > maxAnswerBuf {
		kept = nil
	}
	*r = requestState{holdFunc: r.holdFunc, body: heldBody{pieces: r.body.pieces[:0]}, metadata: kept}
}

func (st *stream) requestHeaders() error {
	r := &st.request
	if r.phase != phaseNew {
		return protocolError("a second request headers message")
	}
	h := &st.headers
	if err := st.in.headers(h); err != nil {
		return protocolError("request headers: " + err.Error())
	}
	ctx := st.ss.Context()
	q := &r.view
	*q = Request{headers: h, hold: r.holdFunc, from: st, Received: st.srv.opts.Now(), Pool: pool(ctx)}
	st.readHeaders(q)
	if q.ID == "" {
		q.ID = st.srv.opts.NewID()
		st.change.set = append(st.change.set, Header{RequestIDHeader, q.ID})
	}
	// A copy: the ID is kept as long as the stream, and the headers are not.
	q.ID = strings.Clone(q.ID)
	r.id = q.ID
	if r.api = scan.APIFromPath(q.Path); r.api == scan.Other {
		r.readCall(q)
	}
	r.schema = schemaOf(r.api, r.grpc, q.Path, h)
	var err error
	if q.Subset, q.HasSubset, err = st.in.subset(); err != nil {
		return protocolError("metadata: " + err.Error())
	}
	r.phase = phaseBody
	length, _ := strconv.ParseInt(h.Get("content-length"), 10, 64)
	if f := st.srv.opts.Foreign; f != nil && q.Pool != "" {
		if st.foreign = f.Consult(ctx, q.Pool); st.foreign != nil {
			return st.foreignRequestHeaders(length)
		}
		if err := st.keepHead(); err != nil {
			return err
		}
	}
	if st.in.endOfStream {
		return st.pick(nil, true)
	}
	// A body that is not read is not waited for either: it may be a tunnel or a
	// call in both directions, which never ends before the response begins.
	if st.requestMode == modeNone || r.api == scan.Other || tunnel(q) {
		r.bytes = max(length, 0)
		return st.pick(nil, false)
	}
	if enc := h.Get("content-encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return st.reject(encodedBody(enc))
	}
	if length > st.srv.opts.MaxBodyBytes {
		return st.reject(tooLarge(st.srv.opts.MaxBodyBytes))
	}
	r.scanner = st.srv.scanners.Get().(*scan.Scanner)
	if r.call != scan.NoCall {
		r.scanner.ResetCall(r.call)
	} else {
		r.scanner.Reset(r.api)
	}
	if err := r.scanner.ContentType(h.Get("content-type")); err != nil {
		return st.reject(err)
	}
	if r.flow == flowInline {
		return st.proceed(kindRequestHeaders, &mutation{})
	}
	return nil
}

// readHeaders fills q from the pseudo-headers and notes what to remove.
func (st *stream) readHeaders(q *Request) {
	for i := range st.headers.list {
		h := &st.headers.list[i]
		switch h.Name {
		case ":method":
			q.Method = h.Value
		case ":path":
			q.Path = h.Value
		case ":authority":
			q.Authority = h.Value
		case "host":
			if q.Authority == "" {
				q.Authority = h.Value
			}
		case RequestIDHeader:
			q.ID = h.Value
		default:
			if control(h.Name) {
				st.change.remove = append(st.change.remove, h.Name)
			}
		}
	}
}

// tunnel reports whether the request opens a tunnel. Only GET upgrades: some
// clients offer h2c with every POST.
func tunnel(q *Request) bool {
	return q.Method == "CONNECT" || q.Method == "GET" && q.Header("upgrade") != ""
}

func (st *stream) requestBody() error {
	r := &st.request
	switch r.phase {
	case phaseNew:
		return protocolError("a request body before its headers")
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
	err := st.in.pieces(st.in.payload, func(b mem.Buffer, lo, hi int) error {
		return r.scanner.Write(b.ReadOnlyData()[lo:hi])
	})
	if err != nil {
		return st.reject(err)
	}
	// BUFFERED and BUFFERED_PARTIAL send one message, which does not say that it
	// is the last when trailers follow or when it was cut.
	last := st.in.endOfStream || st.requestMode == modeBuffered || st.requestMode == modePartial
	switch r.flow {
	case flowDuplex:
		if !r.body.add(st.srv, &st.in) {
			return st.reject(overloaded())
		}
	case flowAhead:
		r.unanswered++
	case flowInline:
		if !last {
			return st.proceed(kindRequestBody, &mutation{})
		}
	}
	if !last {
		return nil
	}
	body, err := r.scanner.Finish()
	if err != nil {
		if st.requestMode != modePartial || st.in.endOfStream {
			return st.reject(err)
		}
		// Cut by the proxy, not by the client: what is missing is unknown.
		body = &scan.Result{API: r.api, GRPC: r.grpc}
	}
	return st.pick(body, st.in.endOfStream)
}

func (st *stream) requestTrailers() error {
	r := &st.request
	switch r.phase {
	case phaseNew:
		return protocolError("request trailers before the headers")
	case phaseEnded:
		return protocolError("request trailers after the end")
	case phaseBody:
		body, err := r.scanner.Finish()
		if err != nil {
			return st.reject(err)
		}
		if err := st.pick(body, false); err != nil {
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

// passRequestBody answers a body message that arrives after the pick.
func (st *stream) passRequestBody() error {
	r := &st.request
	if st.in.endOfStream {
		r.phase = phaseEnded
	}
	if r.flow != flowDuplex {
		return st.proceed(kindRequestBody, &mutation{})
	}
	return st.echo(kindRequestBody, st.in.endOfStream, nil)
}

// pick asks the picker and answers what waits for it. ended is true when the
// request's last message is at hand.
func (st *stream) pick(body *scan.Result, ended bool) error {
	r := &st.request
	q := &r.view
	if body != nil {
		q.Body = *body
	}
	q.BodyBytes = r.bytes
	p, err := st.callPicker()
	model := placeOfModel(&q.Body)
	r.stream = q.Body.Stream
	// Nothing of the request is used from here on, and the scanner not kept while
	// the response streams.
	*q = Request{}
	st.releaseScanner()
	st.headers.reset()
	if err != nil {
		return st.reject(err)
	}
	st.observer, st.foreign, st.interrupt = p.Observer, p.Exchange, p.Interrupt
	st.response.set = p.ResponseHeaders
	r.phase = phasePicked
	if ended {
		r.phase = phaseEnded
	}
	c, err := st.changeOf(&p, model)
	if err == nil {
		err = st.applyPick(&p)
	}
	if err != nil {
		if c != nil {
			c.Body.Free()
		}
		st.end(false)
		return st.reject(err)
	}
	if c != nil {
		return st.answerChange(c, ended)
	}
	k := kindRequestHeaders
	if r.flow == flowInline {
		k = st.in.kind
	}
	e, buf := st.encode()
	if k == kindRequestTrailers {
		// Headers cannot be changed any more, only the metadata counts.
		e.trailers(k, &mutation{destinations: st.change.destinations, scores: st.change.scores, metadata: st.change.metadata})
	} else {
		e.common(k, &st.change)
	}
	st.change.reset()
	if err := st.send(e, buf); err != nil {
		return err
	}
	switch {
	case st.in.kind == kindRequestHeaders:
		return nil
	case r.flow == flowAhead:
		for ; r.unanswered > 0; r.unanswered-- {
			if err := st.proceed(kindRequestBody, &mutation{}); err != nil {
				return err
			}
		}
	case r.flow == flowDuplex:
		defer r.body.release(st.srv)
		return r.body.echo(st, kindRequestBody, ended)
	}
	return nil
}

// callPicker turns a panic of the picker into an error: it is one request's
// failure, not the server's.
func (st *stream) callPicker() (p Pick, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in picker: %v\n%s", r, debug.Stack())
		}
	}()
	return st.srv.picker.Pick(st.ss.Context(), &st.request.view)
}

// applyPick adds the pick to the changes noted so far. A header both set and
// removed is set.
func (st *stream) applyPick(p *Pick) error {
	c := &st.change
	c.clearRouteCache = true
	c.metadata = p.Metadata
	if p.Change != nil {
		// The foreign picker itself removes what servers must not see.
		c.remove = slices.DeleteFunc(c.remove, func(name string) bool { return !ours(name) })
	}
	if p.Destinations != "" {
		h := Header{DestinationHeader, p.Destinations}
		if !settable(h) {
			return errors.New("the picker's destinations hold a line break")
		}
		c.destinations, c.scores = p.Destinations, p.Scores
		c.set = append(c.set, h)
	}
	for _, h := range p.SetHeaders {
		if settable(h) {
			c.set = append(c.set, h)
		}
	}
	for _, name := range p.RemoveHeaders {
		if settable(Header{Name: name}) {
			c.remove = append(c.remove, name)
		}
	}
	kept := c.remove[:0]
	for _, name := range c.remove {
		isSet := slices.ContainsFunc(c.set, func(h Header) bool { return h.Name == name })
		if !isSet && !slices.Contains(kept, name) {
			kept = append(kept, name)
		}
	}
	c.remove = kept
	return nil
}

func (st *stream) releaseScanner() {
	if s := st.request.scanner; s != nil {
		st.request.scanner = nil
		st.srv.scanners.Put(s)
	}
}
