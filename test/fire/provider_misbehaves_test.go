package fire

import (
	"strings"
	"sync"
	"testing"
)

// misbehaviour is what clients of each kind may see of it. Those whose answers pass
// untranslated may see something else.
type misbehaviour struct {
	act             string
	whole, streamed []string
	passed          []string // whole answers that are not translated; nil: as whole
	passedStream    []string
}

func is(v ...string) []string { return v }

// A provider may do what it likes: each client hears of it in the schema of its API, or
// by a connection that breaks, and nothing is left behind.
func TestProviderMisbehaves(t *testing.T) {
	f := newAIFile()
	providers := trio(t, f)
	elsewhere := newProvider(t, "elsewhere", "OpenAI")
	p := f.run(t)
	before := p.goroutines()
	for _, m := range misbehaviours() {
		t.Run(m.act, func(t *testing.T) {
			var wg sync.WaitGroup
			defer wg.Wait()
			for _, schema := range schemas {
				for _, path := range []string{chat, messages} {
					for _, stream := range []bool{false, true} {
						q := asked{path: path, model: strings.ToLower(schema), stream: stream, act: m.act, header: []string{"x-elsewhere", elsewhere.addr}}
						if q.act == "refuse unread" {
							q.text = strings.Repeat("much ", 200<<10)
						}
						allowed := m.allowed(q, schema)
						wg.Go(func() {
							h := p.hear(t.Context(), q)
							h.want(t, q, allowed...)
							if h.header.Get("location") != "" {
								t.Errorf("%v: the client is told to go to %s", q, h.header.Get("location"))
							}
						})
					}
				}
			}
		})
	}
	if n := len(elsewhere.requests()); n > 0 {
		t.Errorf("%d redirects were followed", n)
	}
	p.rest(before, providers)
	t.Logf("fairway %d MiB", memory(t, p.cmd.Process.Pid, "VmHWM"))
	if peak := memory(t, p.cmd.Process.Pid, "VmHWM"); peak > 1200 { // twelve answers of 64 MiB
		t.Errorf("Fairway took %d MiB", peak)
	}
}

// allowed is what the client of a question may see.
func (m *misbehaviour) allowed(q asked, schema string) []string {
	passes := q.path == chat && schema == "OpenAI" || q.path == messages && schema == "Anthropic"
	switch {
	case passes && q.stream && m.passedStream != nil:
		return m.passedStream
	case q.stream:
		return m.streamed
	case passes && m.passed != nil:
		return m.passed
	}
	return m.whole
}

func misbehaviours() []misbehaviour {
	// Where Envoy has not sent the headers on yet, it answers itself; afterwards nobody can.
	lost, lostStream := is(refused, cut), is(refused, cut, told)
	return []misbehaviour{
		{act: "good", whole: is(answered), streamed: is(answered)},
		{act: "a byte at a time", whole: is(answered), streamed: is(answered)},
		{act: "continue and hints", whole: is(answered), streamed: is(answered)},
		{act: "trailers", whole: is(answered), streamed: is(answered)},
		{act: "gzip", whole: is(answered), streamed: is(answered)},
		{act: "reset before headers", whole: is(refused), streamed: is(refused)},
		{act: "close before headers", whole: is(refused), streamed: is(refused)},
		{act: "reset after headers", whole: lost, streamed: lostStream},
		{act: "close short of its length", whole: lost, streamed: lostStream},
		{act: "reset midway", whole: lost, streamed: lostStream},
		{act: "reset in an event", whole: lost, streamed: lostStream},
		{act: "close midway", whole: lost, streamed: lostStream},
		{act: "close in an event", whole: lost, streamed: lostStream},
		{act: "invalid chunking", whole: lost, streamed: lostStream},
		// What ends as HTTP should, and is not what it should be.
		{act: "end after headers", whole: lost, streamed: is(refused, told), passed: is(unreadable)},
		{act: "end midway", whole: lost, streamed: is(told), passed: is(unreadable)},
		{act: "end in an event", whole: lost, streamed: is(told), passed: is(unreadable)},
		{act: "half", whole: lost, streamed: is(told), passed: is(unreadable)},
		{act: "not JSON", whole: lost, streamed: is(told), passed: is(unreadable)},
		{act: "empty", whole: lost, streamed: is(told), passed: is(unreadable)},
		{act: "html", whole: is(refused), streamed: is(refused), passed: is(unreadable)},
		{act: "text", whole: is(refused), streamed: is(refused), passed: is(unreadable), passedStream: is(answered)},
		{act: "other stream", whole: is(refused), streamed: is(refused), passed: is(unreadable)},
		{act: "error in success", whole: lost, streamed: is(refused), passed: is(own)},
		{act: "204", whole: is(refused), streamed: is(refused)},
		{act: "brotli", whole: is(refused), streamed: is(refused), passed: is(encoded), passedStream: is(encoded)},
		{act: "not gzip", whole: lost, streamed: is(refused, told), passed: is(cut, unreadable), passedStream: is(cut, refused, told)},
		{act: "gzip cut off", whole: lost, streamed: is(told), passed: is(cut, unreadable), passedStream: is(cut, told)},
		{act: "gzip bomb", whole: lost, streamed: lostStream, passed: is(unreadable)},
		// What Envoy does not take for an answer.
		{act: "garbage", whole: is(refused), streamed: is(refused)},
		{act: "two lengths", whole: is(refused), streamed: is(refused)},
		{act: "length and chunks", whole: is(refused), streamed: is(refused)},
		{act: "switching protocols", whole: is(refused), streamed: is(refused)},
		{act: "status 999", whole: is(refused), streamed: is(refused)},
		{act: "flood of headers", whole: is(refused), streamed: is(refused)},
		{act: "one huge header", whole: is(refused), streamed: is(refused)},
		// Errors, and what is taken for one.
		{act: "304", whole: is(refused), streamed: is(refused)},
		{act: "500 with a page", whole: is(refused), streamed: is(refused)},
		{act: "503 without a body", whole: is(refused), streamed: is(refused)},
		{act: "refuse unread", whole: is(refused), streamed: is(refused)},
		{act: "redirect 301", whole: is(refused), streamed: is(refused)},
		{act: "redirect 302", whole: is(refused), streamed: is(refused)},
		{act: "redirect 307", whole: is(refused), streamed: is(refused)},
		{act: "redirect 308", whole: is(refused), streamed: is(refused)},
	}
}
