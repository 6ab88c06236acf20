package tokens

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Engine is a [Source] that asks model servers.
type Engine struct {
	o      Options
	client *http.Client
	places *places
	cache  *cache
	stats  counters
	slots  chan struct{}
	// life ends with Close.
	life context.Context
	end  context.CancelFunc
	all  sync.WaitGroup // the questions on their way

	mu      sync.Mutex
	flights map[[sha256.Size]byte]*flight
	pending int64 // bytes of the flights' prompts
	closed  bool
}

// flight is a question on its way, and those who wait for its answer.
type flight struct {
	prompt *prompt
	done   chan struct{} // closed when answer and err are set
	answer answer
	err    error
}

// NewEngine returns an Engine, which Close ends. An error names the field of o that
// is out of range.
func NewEngine(o Options) (*Engine, error) {
	o, err := o.normalise()
	if err != nil {
		return nil, err
	}
	e := &Engine{
		o: o, places: &places{state: map[string]*state{}}, cache: newCache(o.CacheBytes),
		slots: make(chan struct{}, o.Concurrent), flights: map[[sha256.Size]byte]*flight{},
		client: &http.Client{
			Transport:     o.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	e.life, e.end = context.WithCancel(context.Background())
	return e, nil
}

// Close ends the questions on their way and waits for their end. Tokens fails from
// then on.
func (e *Engine) Close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.end()
	e.all.Wait()
	e.client.CloseIdleConnections()
}

// Tokens implements [Source].
func (e *Engine) Tokens(ctx context.Context, r Request) (Tokens, error) {
	begun := e.o.Clock.Now()
	if only, ok := onlyRendered(r.Path); ok && e.places.lacked(e.o.Endpoints(), only, begun) {
		e.stats.unusable.Add(1) // before it is read: engines without the route are common
		return Tokens{}, ErrUnsupported
	}
	p, err := readPrompt(r, e.o.MaxRequest)
	if err != nil {
		e.stats.unusable.Add(1)
		return Tokens{}, err
	}
	if p.known != nil {
		e.stats.known.Add(1)
		return p.tokens(answer{ids: p.known, images: p.images})
	}
	if a, ok := e.cache.get(p.key, begun); ok {
		e.stats.hits.Add(1)
		return p.tokens(a)
	}
	budget := r.Budget
	if budget <= 0 {
		budget = e.o.Budget
	}
	left := budget - e.o.Clock.Now().Sub(begun)
	p.keep()
	p.authorization = credentials(p.authorization)
	f, err := e.join(p, left)
	if err != nil {
		return Tokens{}, err
	}
	late := make(chan struct{})
	stop := e.o.Clock.AfterFunc(left, func() { close(late) })
	defer stop()
	for again := true; again; {
		select {
		case <-f.done:
		case <-late:
			e.stats.late.Add(1)
			return Tokens{}, ErrLate
		case <-ctx.Done():
			return Tokens{}, fmt.Errorf("tokens: %w", ctx.Err())
		}
		if again = f.anothers(p); again {
			if f, err = e.join(p, budget-e.o.Clock.Now().Sub(begun)); err != nil {
				return Tokens{}, err
			}
		}
	}
	if f.err != nil {
		return Tokens{}, f.err
	}
	return p.tokens(f.answer)
}

// tokens are what a says of p.
func (p *prompt) tokens(a answer) (Tokens, error) {
	if a.err != nil {
		return Tokens{}, a.err
	}
	return Tokens{IDs: a.ids, Count: len(a.ids), Partial: p.partial, Exact: true, Model: p.model, Salt: p.salt, Images: a.images}, nil
}

// join returns the flight for p, a new one if there is none. A new one waits for a
// slot no longer than wait.
func (e *Engine) join(p *prompt, wait time.Duration) (*flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	if f := e.flights[p.key]; f != nil {
		e.stats.joined.Add(1)
		return f, nil
	}
	// A flight fills the cache before it leaves the map, so what landed between the
	// caller's look and the lock is found here.
	if a, ok := e.cache.get(p.key, e.o.Clock.Now()); ok {
		e.stats.hits.Add(1)
		f := &flight{done: make(chan struct{}), answer: a}
		close(f.done)
		return f, nil
	}
	size := int64(len(p.body))
	if len(e.flights) >= e.o.Concurrent*(1+waitingPerSlot) || e.pending+size > e.o.MaxPending {
		e.stats.busy.Add(1)
		return nil, ErrBusy
	}
	e.stats.misses.Add(1)
	f := &flight{prompt: p, done: make(chan struct{})}
	e.flights[p.key] = f
	e.pending += size
	e.all.Add(1)
	go e.fly(f, wait)
	return f, nil
}

// fly asks f's question, whether or not anybody still waits for the answer.
func (e *Engine) fly(f *flight, wait time.Duration) {
	defer e.all.Done()
	if f.err = e.takeSlot(wait); f.err == nil {
		f.answer, f.err = e.ask(f.prompt)
		<-e.slots
	}
	if f.err == nil {
		age := e.o.MaxAge
		if f.answer.err != nil {
			age = e.o.RefusedAge
		}
		e.cache.put(f.prompt.key, f.answer, e.o.Clock.Now().Add(age))
	}
	e.mu.Lock()
	delete(e.flights, f.prompt.key)
	e.pending -= int64(len(f.prompt.body))
	e.mu.Unlock()
	close(f.done)
}

// takeSlot waits for one of the questions asked at once.
func (e *Engine) takeSlot(wait time.Duration) error {
	select {
	case e.slots <- struct{}{}:
		return nil
	default:
	}
	late := make(chan struct{})
	stop := e.o.Clock.AfterFunc(wait, func() { close(late) })
	defer stop()
	select {
	case e.slots <- struct{}{}:
		return nil
	case <-late:
		e.stats.busy.Add(1)
		return ErrBusy
	case <-e.life.Done():
		return ErrClosed
	}
}
