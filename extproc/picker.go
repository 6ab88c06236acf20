package extproc

import (
	"context"
	"iter"
	"time"

	"github.com/fairway-ai/fairway/extproc/observe"
	"github.com/fairway-ai/fairway/extproc/scan"
)

// Picker chooses endpoints. Package epp implements it.
type Picker interface {
	// Pick is called at most once per request, when its headers and whole body are
	// known. A path that is no AI API and a tunnel are picked for by their headers
	// alone. Pick may block while the request is held, after telling Envoy through
	// req.Hold; ctx ends when the client or Envoy gives up. A *Rejection error is
	// answered to the client as it says; any other error, and a panic, is a 500.
	//
	// req and the slices in it are valid until Pick returns. Strings may be kept,
	// but other than ID, they keep all the request's headers in memory.
	Pick(ctx context.Context, req *Request) (Pick, error)
}

// Request is what a Picker sees.
type Request struct {
	// ID is x-request-id, generated when the client sent none.
	ID string
	// Method, Path (with query) and Authority are the pseudo-headers.
	Method, Path, Authority string
	// Body is the scanned body; its zero value for a request without one.
	Body scan.Result
	// BodyBytes is the body's length; what content-length says when the pick does
	// not wait for the body.
	BodyBytes int64
	// Subset is the endpoints the gateway allows, when HasSubset.
	Subset    []string
	HasSubset bool
	// Pool is the pool named by gRPC initial metadata (x-fairway-pool), or "".
	Pool string
	// Received is when the request's headers arrived.
	Received time.Time

	headers *Headers
	hold    func(time.Duration) error
	unheld  error // as in Unheld
	// from is where the request came in; nil for one that is not the server's.
	from *stream
	body []byte // of one that is not the server's
}

// NewRequest returns a Request with headers, whose names are lower case, and what
// Hold calls, which may be nil. The server makes its own; this is for those who
// call a Picker without one. The caller fills in the fields.
func NewRequest(headers []Header, hold func(time.Duration) error) *Request {
	return &Request{headers: &Headers{list: headers}, hold: hold}
}

// WithHold returns a copy of r whose Hold calls f.
func (r *Request) WithHold(f func(time.Duration) error) *Request {
	c := *r
	c.hold = f
	return &c
}

// WithoutHold is a copy of the request that must not be held: Hold fails with err.
func (r *Request) WithoutHold(err error) *Request {
	c := *r
	c.unheld = err
	return &c
}

// Unheld is why the request must not be held, nil when it may be: a Picker that would
// have to returns it instead.
func (r *Request) Unheld() error { return r.unheld }

// ClientHeaders calls yield with every header of the request in order, less those
// that steer gateways, until it returns false.
func (r *Request) ClientHeaders(yield func(Header) bool) {
	if r.headers == nil {
		return
	}
	for _, h := range r.headers.list {
		if !control(h.Name) && !yield(h) {
			return
		}
	}
}

// Header returns a request header by its lower-case name, "" when absent.
func (r *Request) Header(name string) string { return r.headers.Get(name) }

// Values are all values of a request header by its lower-case name.
func (r *Request) Values(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if r.headers == nil {
			return
		}
		for _, h := range r.headers.list {
			if h.Name == name && !yield(h.Value) {
				return
			}
		}
	}
}

// Hold tells Envoy that the pick may take up to d, before Pick blocks. Envoy heeds
// it once per request, so later calls do nothing; nor do any with full duplex
// bodies, where Envoy waits without a timeout. An error means that the stream
// broke.
func (r *Request) Hold(d time.Duration) error {
	switch {
	case r.unheld != nil:
		return r.unheld
	case r.hold == nil:
		return nil
	}
	return r.hold(d)
}

// Pick is a Picker's answer.
type Pick struct {
	// Destinations is "ip:port[,ip:port…]", best first.
	Destinations string
	// Scores are what the endpoints were chosen by, told as dynamic metadata with
	// Destinations; none tells nothing.
	Scores []EndpointScore
	// SetHeaders are set on the request to the model server, overwriting;
	// RemoveHeaders are removed from it.
	SetHeaders    []Header
	RemoveHeaders []string
	// Metadata is dynamic metadata besides the pick: an encoded
	// google.protobuf.Struct, whose fields are namespaces.
	Metadata []byte
	// ResponseHeaders are set on the response to the client.
	ResponseHeaders []Header
	// Observer is told of the response; nil when nobody cares.
	Observer Observer
	// Interrupt ends the request before its response; nil when nobody will.
	Interrupt *Interrupt
	// Model replaces the model's name in the body, and nothing else of it; "" leaves
	// it, and so does a body that names none. It takes a body that is BUFFERED or
	// FULL_DUPLEX_STREAMED. The answer carries the name that the server gives it.
	Model string
	// Change is what a foreign picker, whom this one asked, wants changed, or an
	// [Answer] of this one's own; nil for neither. Destinations is empty then, and Model for the case that the
	// foreign one left the body as it was. Where both set a header, Change's counts;
	// of namespaces of metadata, the ones in Metadata. The server takes over the
	// references to the body.
	Change *Change
	// Exchange is the conversation with that picker, for the response; nil when there
	// is none or it is over. The server takes it over and closes it.
	Exchange Exchange
}

// EndpointScore is what an endpoint, "ip:port", was chosen by.
type EndpointScore struct {
	Address string
	Score   float64
}

// Header is a header name (lower case) and value.
type Header struct{ Name, Value string }

// Observer follows a picked request to its end. All calls come from one
// goroutine. End is called exactly once after a successful Pick, whatever
// happens, also when the stream breaks; nothing is called after it.
type Observer interface {
	// ResponseHeaders reports the status and the address that served, "" when the
	// gateway did not say. It returns headers to set on the response.
	ResponseHeaders(now time.Time, status int, served string) []Header
	// FirstToken reports the first generated token of a stream, or the first body
	// byte of an answer that is not streamed.
	FirstToken(now time.Time)
	// End reports how it went.
	End(now time.Time, o Outcome)
}

// HeaderReader is an Observer that looks at the response's headers. It is called
// before ResponseHeaders; get returns a header by its lower-case name.
type HeaderReader interface {
	ReadHeaders(get func(name string) string)
}

// TokenTimer is an Observer that wants to know when each part of a streamed response
// with tokens passed. It is told of the first, after FirstToken, and of all others.
type TokenTimer interface {
	Tokens(now time.Time)
}

// BodySkipper is an Observer that may not want the response's body, which Envoy then
// need not send. It is asked after ResponseHeaders.
type BodySkipper interface {
	SkipsBody() bool
}

// Outcome is how a picked request ended.
type Outcome struct {
	// Status is the response's HTTP status; 0 when no response was seen. Of a gRPC
	// response that failed it is the one that stands for its grpc-status.
	Status int
	// Complete is true when the response ended normally. False means that the
	// client or the model server went away, or the ext_proc stream was lost.
	Complete bool
	// ResponseBytes is the response body's length so far.
	ResponseBytes int64
	// Usage is what the model server reported; Usage.Known tells whether it did.
	Usage observe.Usage
	// Processing is how long a streamed response's messages took here, one after the
	// other; of any other response, the time from its headers to its end.
	Processing time.Duration
	// Streamed is true for a server-sent-event response, and for one of gRPC messages if
	// the request asked for a stream.
	Streamed bool
	// Chunks counts a streamed response's events or messages that carried tokens.
	Chunks int64
	// Interrupted is true when an Interrupt answered the client, with Status.
	Interrupted bool
}

// Rejection is an error answered to the client in the schema of the API it
// called.
type Rejection struct {
	// Status is the HTTP status: 400, 404, 413, 429, 503.
	Status int
	// Code is a machine-readable reason in the client's schema, for example
	// "model_not_found".
	Code string
	// Message is for a person.
	Message string
	// Headers are added to the answer.
	Headers []Header
}

func (r *Rejection) Error() string { return r.Message }
