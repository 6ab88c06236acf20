package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/fairway-ai/fairway/sim/engine"
)

// infer wraps the handler of a request body: it bounds and reads the body and
// applies the failure switches.
func (s *Server) infer(style errorStyle, h func(http.ResponseWriter, *http.Request, []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.ready() {
			style.write(w, &apiError{http.StatusServiceUnavailable, "ServiceUnavailableError", "the server is starting", ""})
			return
		}
		// The whole body is read before any answer, so that the connection can be
		// used again and the client's leaving is noticed.
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.cfg.MaxBody))
		if err != nil {
			style.write(w, bodyError(err))
			return
		}
		f, fail := s.verdict()
		if f.Hang {
			select {
			case <-r.Context().Done():
			case <-s.closing:
			}
			panic(http.ErrAbortHandler)
		}
		if fail {
			style.write(w, &apiError{http.StatusInternalServerError, "InternalServerError", "the simulated server was told to fail", ""})
			return
		}
		if s.cfg.Sidecar {
			if r, body = s.sidecar(w, r, body, style); r == nil {
				return
			}
		}
		h(w, r, body)
	}
}

// decode parses a request body; unknown fields are ignored, as in vLLM.
func decode(body []byte, into any) *apiError {
	if err := json.Unmarshal(body, into); err != nil {
		return badRequest("the body is not a valid request: "+err.Error(), "")
	}
	return nil
}

// maxChoices bounds the sequences of one request.
const maxChoices = 128

// sampling is the part of a request that decides about its output.
type sampling struct {
	limit *int // max_tokens, under the name the API has for it
	min   int
	n     int
	salt  string
}

// job is the sequences of one request, in the order of their index.
type job struct {
	answers []*answer
	wake    chan struct{}
	prompt  int // tokens of all prompts
	stage   stage
	// fetched is called once the first token shows that a transfer has ended, or that
	// it will not take place; nil where there is none.
	fetched func()
	// elsewhere is the tokens of the prompt that its computing server found cached, for
	// the usage; nil where it was computed here.
	elsewhere *int
}

// Lengths of an answer without max_tokens, in tokens.
const (
	minAnswer = 16
	maxAnswer = 64
)

// choiceStride makes the choices of one prompt differ in text and length.
const choiceStride = 61

// prepare makes the sequences of a request without submitting them.
func (s *Server) prepare(prompts []*prompt, adapter, id string, p sampling) (*job, *apiError) {
	if p.n == 0 {
		p.n = 1
	}
	if p.n < 0 || p.n > maxChoices || p.n*len(prompts) > maxChoices {
		return nil, badRequest(fmt.Sprintf("n must be at least 1 and a request at most %d sequences", maxChoices), "n")
	}
	if p.limit != nil && *p.limit < 1 {
		return nil, badRequest(fmt.Sprintf("max_tokens must be at least 1, got %d.", *p.limit), "max_tokens")
	}
	j := &job{wake: make(chan struct{}, 1)}
	for _, pr := range prompts {
		tokens := pr.tokens()
		j.prompt += tokens
		room := s.cfg.MaxModelLen - tokens
		if room < 1 || p.limit != nil && *p.limit > room {
			return nil, s.tooLong(tokens, p.limit)
		}
		hashes := pr.blocks(s.cfg.Engine.BlockTokens, adapter, p.salt)
		for k := range p.n {
			a := &answer{wake: j.wake, reason: "stop", n: p.n, prompt: pr, salt: p.salt, loraID: s.loraID(adapter)}
			seed := pr.hash() + uint64(k)*choiceStride
			want := minAnswer + int(seed%(maxAnswer-minAnswer+1))
			a.text = loremText(seed)
			if s.cfg.Echo && pr.lastUser != "" {
				a.text = echoText(pr.lastUser)
				want = len(a.text.pieces)
			} else if p.limit != nil {
				want = *p.limit + 1 // filler never ends by itself
			}
			want = min(max(want, p.min), room+1)
			limit := room
			if p.limit != nil {
				limit, a.limit = *p.limit, *p.limit
			}
			if want > limit {
				want, a.reason = limit, "length"
			}
			a.req = engine.Request{ID: id, Adapter: adapter, Hashes: hashes, PromptTokens: tokens, OutputTokens: want}
			j.answers = append(j.answers, a)
		}
	}
	return j, nil
}

func (s *Server) tooLong(prompt int, limit *int) *apiError {
	asked := fmt.Sprintf("your request has %d input tokens", prompt)
	if limit != nil {
		asked = fmt.Sprintf("you requested %d tokens (%d in the messages, %d in the completion)", prompt+*limit, prompt, *limit)
	}
	return badRequest(fmt.Sprintf("This model's maximum context length is %d tokens. However, %s. Please reduce the length of the messages or completion.",
		s.cfg.MaxModelLen, asked), "")
}

// submit gives a job to the engine.
func (s *Server) submit(j *job) *apiError {
	err := s.driver.submit(j.answers, s.Failures().MaxWaiting)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, engine.ErrFull):
		return &apiError{http.StatusTooManyRequests, "TooManyRequestsError", "the server's queue is full", ""}
	case errors.Is(err, engine.ErrTooLong):
		return badRequest("the request does not fit into the KV cache", "")
	}
	return &apiError{http.StatusServiceUnavailable, "ServiceUnavailableError", err.Error(), ""}
}

// sink receives a job's tokens in the form of an API.
type sink interface {
	// begin is called before the first token of the first sequence.
	begin(j *job)
	token(i int, text string)
	// end is called after a sequence's last token.
	end(i int, a *answer)
	// close is called when all sequences have ended.
	close(j *job)
	// flush sends what was written so far; an error means that the client is gone.
	flush() error
}

// discard is the sink of answers that are sent as a whole.
type discard struct{}

func (discard) begin(*job)        {}
func (discard) token(int, string) {}
func (discard) end(int, *answer)  {}
func (discard) close(*job)        {}
func (discard) flush() error      { return nil }

// errGone means that the client or the server left before the answer was complete.
var errGone = errors.New("the request was abandoned")

// follow passes a job's tokens to a sink until the end. When it returns an error
// the job is out of the engine and nothing more can be sent. It panics with
// http.ErrAbortHandler, which closes the connection, when told to drop it.
func (s *Server) follow(ctx context.Context, j *job, out sink) error {
	ended := false
	defer func() {
		j.tellFetched()
		if !ended {
			s.driver.cancel(j.answers)
		}
	}()
	drop := s.Failures().DropAfter
	sent, total, left := make([]int, len(j.answers)), 0, len(j.answers)
	over := make([]bool, len(j.answers))
	for left > 0 {
		select {
		case <-j.wake:
		case <-ctx.Done():
			return errGone
		case <-s.driver.closedCh:
			return errGone
		}
		for i, a := range j.answers {
			if over[i] {
				continue
			}
			done := a.done.Load() // before produced: no token comes after it
			for n := int(a.produced.Load()); sent[i] < n; sent[i]++ {
				if total == 0 {
					j.tellFetched()
					out.begin(j)
				}
				out.token(i, a.text.token(sent[i]))
				if total++; total == drop {
					_ = out.flush() // the tokens are to arrive before the end does
					panic(http.ErrAbortHandler)
				}
			}
			if done {
				over[i] = true
				left--
				out.end(i, a)
			}
		}
		if left == 0 {
			ended = true
			out.close(j)
		}
		if err := out.flush(); err != nil {
			return fmt.Errorf("%w: %w", errGone, err)
		}
	}
	return nil
}

// tellFetched calls fetched, once.
func (j *job) tellFetched() {
	if f := j.fetched; f != nil {
		j.fetched = nil
		f()
	}
}

// generated is the output tokens so far of all sequences.
func (j *job) generated() (n int) {
	for _, a := range j.answers {
		n += int(a.produced.Load())
	}
	return n
}

// cached is the prompt tokens that the prefix cache had, of the sequences that
// have started.
func (j *job) cached() (n int) {
	if j.elsewhere != nil {
		return *j.elsewhere * len(j.answers)
	}
	for _, a := range j.answers {
		if a.produced.Load() > 0 {
			n += a.cached
		}
	}
	return n
}
