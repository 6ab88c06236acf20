package epp

import (
	"context"
	"io"
	"slices"
	"sync"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	// maxTranscript bounds what is kept of a stream's answers, in bytes.
	maxTranscript = 64 << 20
	// maxMessages bounds how many answers are read of a stream.
	maxMessages = 1 << 20
	// linger is how long a stream that was half-closed may take to end where that
	// is not what is judged.
	linger = 250 * time.Millisecond
)

// answer is the answer to a headers message, or to a body message that is not
// streamed.
type answer struct {
	common   *extprocv3.CommonResponse
	metadata *structpb.Struct
}

// bodyAnswers are the answers to the body messages of one direction.
type bodyAnswers struct {
	bytes []byte // of the streamed responses, together
	ends  int    // streamed responses with end_of_stream
	after int    // streamed responses after the first end_of_stream
	// largest is the longest streamed response, in bytes.
	largest int
	// acks are answers that are no streamed responses.
	acks     []answer
	trailers int
	// early says that an answer came before the headers' one.
	early bool
}

// transcript is what a picker has said on a stream so far.
type transcript struct {
	requestHeaders, responseHeaders []answer
	request, response               bodyAnswers
	immediate                       *extprocv3.ImmediateResponse
	// end is why the stream ended: io.EOF for status OK, nil while it has not.
	end error
	// excess says that the picker sent more than is read.
	excess   bool
	messages int
}

// stream is one ext_proc stream. Its goroutine receives; its other methods are
// called from one other goroutine.
type stream struct {
	call    extprocv3.ExternalProcessor_ProcessClient
	cancel  context.CancelFunc
	sent    string
	timeout time.Duration

	mu      sync.Mutex
	t       transcript
	changed chan struct{} // closed and replaced after every change of t
}

// receive reads answers until the stream ends.
func (x *stream) receive() {
	total := 0
	for {
		m, err := x.call.Recv()
		x.mu.Lock()
		if err != nil {
			x.t.end = err
		} else {
			total += proto.Size(m)
			if x.t.messages++; total > maxTranscript || x.t.messages > maxMessages {
				x.t.excess, x.t.end = true, io.ErrShortBuffer
			} else {
				x.t.add(m)
			}
		}
		ended := x.t.end != nil
		close(x.changed)
		x.changed = make(chan struct{})
		x.mu.Unlock()
		if ended {
			x.cancel()
			return
		}
	}
}

func (t *transcript) add(m *extprocv3.ProcessingResponse) {
	switch r := m.GetResponse().(type) {
	case *extprocv3.ProcessingResponse_RequestHeaders:
		t.requestHeaders = append(t.requestHeaders, answer{r.RequestHeaders.GetResponse(), m.GetDynamicMetadata()})
	case *extprocv3.ProcessingResponse_ResponseHeaders:
		t.responseHeaders = append(t.responseHeaders, answer{r.ResponseHeaders.GetResponse(), m.GetDynamicMetadata()})
	case *extprocv3.ProcessingResponse_RequestBody:
		t.request.add(answer{r.RequestBody.GetResponse(), m.GetDynamicMetadata()}, len(t.requestHeaders) == 0)
	case *extprocv3.ProcessingResponse_ResponseBody:
		t.response.add(answer{r.ResponseBody.GetResponse(), m.GetDynamicMetadata()}, len(t.responseHeaders) == 0)
	case *extprocv3.ProcessingResponse_RequestTrailers:
		t.request.trailers++
		t.request.early = t.request.early || len(t.requestHeaders) == 0
	case *extprocv3.ProcessingResponse_ResponseTrailers:
		t.response.trailers++
		t.response.early = t.response.early || len(t.responseHeaders) == 0
	case *extprocv3.ProcessingResponse_ImmediateResponse:
		if t.immediate == nil {
			t.immediate = r.ImmediateResponse
		}
	}
}

func (b *bodyAnswers) add(a answer, early bool) {
	b.early = b.early || early
	streamed := a.common.GetBodyMutation().GetStreamedResponse()
	if streamed == nil {
		b.acks = append(b.acks, a)
		return
	}
	if b.ends > 0 {
		b.after++
	}
	b.bytes = append(b.bytes, streamed.GetBody()...)
	b.largest = max(b.largest, len(streamed.GetBody()))
	if streamed.GetEndOfStream() {
		b.ends++
	}
}

// send sends messages until one cannot be, or the picker has answered the client
// itself: a gateway sends nothing more then, either.
func (x *stream) send(messages ...*extprocv3.ProcessingRequest) {
	for _, m := range messages {
		x.mu.Lock()
		over := x.t.end != nil || x.t.immediate != nil
		x.mu.Unlock()
		if over || x.call.Send(m) != nil {
			return // why is in the transcript
		}
	}
}

// until waits until done, the stream's end, the picker's own answer to the client
// or the timeout. It returns what was said so far and whether done.
func (x *stream) until(done func(*transcript) bool) (transcript, bool) {
	timeout := time.NewTimer(x.timeout)
	defer timeout.Stop()
	return x.wait(timeout.C, func(t *transcript) bool { return t.immediate != nil }, done)
}

func (x *stream) wait(timeout <-chan time.Time, over, done func(*transcript) bool) (transcript, bool) {
	for {
		x.mu.Lock()
		ok := done(&x.t)
		stop := ok || over(&x.t) || x.t.end != nil
		// Slices only grow behind what the copy sees.
		t, changed := x.t, x.changed
		x.mu.Unlock()
		if stop {
			return t, ok
		}
		select {
		case <-changed:
		case <-timeout:
			return t, false
		}
	}
}

// pause waits for d, or the stream's end.
func (x *stream) pause(d time.Duration) {
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	never := func(*transcript) bool { return false }
	x.wait(timeout.C, never, never)
}

// ended half-closes the stream and waits up to d for its end.
func (x *stream) ended(d time.Duration) (transcript, bool) {
	_ = x.call.CloseSend()
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	never := func(*transcript) bool { return false }
	return x.wait(timeout.C, never, func(t *transcript) bool { return t.end != nil })
}

// fail makes a Failure of this stream.
func (x *stream) fail(got, want string) error {
	return &Failure{Sent: x.sent, Got: got, Want: want}
}

// The conditions waited for.

func picked(t *transcript) bool { return len(t.requestHeaders) > 0 }

func requestDone(t *transcript) bool {
	return len(t.requestHeaders) > 0 && t.request.done()
}

func responseHeadersDone(t *transcript) bool { return len(t.responseHeaders) > 0 }

func responseDone(t *transcript) bool {
	return len(t.responseHeaders) > 0 && t.response.done()
}

// done reports whether the body is over, or never will be: a gateway gives up at
// an answer that is no streamed response.
func (b *bodyAnswers) done() bool { return b.ends > 0 || b.trailers > 0 || len(b.acks) > 0 }

// contains reports whether the addresses a of a pick are all in allowed.
func contains[T comparable](allowed, a []T) bool {
	return !slices.ContainsFunc(a, func(v T) bool { return !slices.Contains(allowed, v) })
}
