package extproc

import "sync"

// Interrupt ends a request that was picked for and has no response yet. A [Picker] puts
// a new one into each [Pick] that it may want to end.
type Interrupt struct {
	// Ready, unless nil, is called once the request can be ended, before its response.
	Ready func()

	mu sync.Mutex
	// answer is set while the request waits for its response.
	answer func(*Rejection) bool
}

// Bind has Reject call f, at most once, until Bind(nil). The server does it when the
// pick was sent; others who call a Picker may.
func (i *Interrupt) Bind(f func(*Rejection) bool) {
	i.mu.Lock()
	i.answer = f
	ready := i.Ready
	if f != nil {
		i.Ready = nil
	}
	i.mu.Unlock()
	if f != nil && ready != nil {
		ready()
	}
}

// Reject answers the client with r, and has the proxy end the request to the model
// server. It reports whether it did: not before the pick was sent, and not when a
// response has begun. It may block for as long as the proxy reads nothing. The
// Observer's End, with Outcome.Interrupted, comes when the proxy has ended its stream.
func (i *Interrupt) Reject(r *Rejection) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	f := i.answer
	i.answer = nil
	return f != nil && f(r)
}

// step handles the message at hand, alone with the stream if that can be interrupted.
func (st *stream) step() error {
	i := st.interrupt
	if i == nil {
		err := st.handle()
		if err == nil && st.interrupt != nil {
			st.interrupt.Bind(st.interruptFunc)
		}
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if st.interrupted {
		return errDone // the client has its answer
	}
	err := st.handle()
	if err != nil || st.response.seen {
		i.answer, st.interrupt = nil, nil
	}
	return err
}

// beInterrupted is what Reject calls, on another goroutine while the stream's own waits
// for a message.
func (st *stream) beInterrupted(r *Rejection) bool {
	if st.reject(r) != errDone {
		return false
	}
	st.interrupted, st.response.status = true, r.Status
	return true
}

// unbind makes sure that the stream is not interrupted any more.
func (st *stream) unbind() {
	if i := st.interrupt; i != nil {
		i.Bind(nil)
		st.interrupt = nil
	}
}
