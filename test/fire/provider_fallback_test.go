package fire

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// What a provider does before its answer begins costs the client nothing where the rule
// has another one.
func TestMisbehaviourLeadsToTheNext(t *testing.T) {
	f := newAIFile()
	next := newProvider(t, "next", "Anthropic")
	next.deaf = true
	f.backend("next", "Anthropic", next.addr)
	var all []asked
	providers := map[string]*provider{"next": next}
	for i, act := range []string{"reset before headers", "close before headers", "garbage", "two lengths", "flood of headers", "500 with a page", "503 without a body", "silence"} {
		for _, schema := range schemas {
			// Each has one of its own: one that failed often would not be asked.
			name := fmt.Sprintf("%s-%d", strings.ToLower(schema), i)
			p := newProvider(t, name, schema)
			providers[name] = p
			f.backend(name, schema, p.addr)
			patient := ""
			if act == "silence" {
				patient = "fallback: {firstByteTimeout: 3s}"
			}
			f.rule(name, patient, name, "next")
			all = append(all, asked{path: chat, model: name, act: act}, asked{path: chat, model: name, stream: true, act: act},
				asked{path: messages, model: name, act: act}, asked{path: messages, model: name, stream: true, act: act})
		}
	}
	alone := newProvider(t, "alone", "Anthropic")
	f.backend("alone", "Anthropic", alone.addr)
	f.rule("alone", "fallback: {firstByteTimeout: 1s}", "alone")
	f.rule("brief", "timeouts: {request: 2s}", "alone")
	providers["alone"] = alone
	p := f.run(t)
	before := p.goroutines()
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, 12)
	for _, q := range all {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			h := p.hear(t.Context(), q)
			h.want(t, q, answered)
			if by := h.header.Get("x-fairway-backend"); by != "default/next" {
				t.Errorf("%v: answered by %q", q, by)
			}
			if why := h.header.Get("x-fairway-fallback"); !strings.HasPrefix(why, "default/"+q.model+": ") {
				t.Errorf("%v: the client is told %q of the first", q, why)
			}
		})
	}
	// Where there is no other, silence ends in an error, and silence midway when the
	// request's time is over.
	for _, path := range []string{chat, messages} {
		for _, stream := range []bool{false, true} {
			wg.Go(func() {
				q := asked{path: path, model: "alone", stream: stream, act: "silence"}
				p.hear(t.Context(), q).want(t, q, refused)
				q = asked{path: path, model: "brief", stream: stream, act: "silence midway"}
				p.hear(t.Context(), q).want(t, q, refused, cut)
			})
		}
	}
	wg.Wait()
	for name, x := range providers {
		if len(x.requests()) == 0 {
			t.Errorf("%s was not asked, so nothing was tested", name)
		}
	}
	for _, r := range next.requests() {
		signed(t, next, r)
	}
	p.rest(before, providers)
}

// Many long prompts that are translated at once, on connections that are not there yet,
// arrive whole. This crashed Envoy.
func TestManyLongPromptsAtOnce(t *testing.T) {
	f := newAIFile()
	providers := trio(t, f)
	p := f.run(t)
	envoy, before := p.envoy(), p.goroutines()
	text := strings.Repeat("and then? ", 150_000)
	var wg sync.WaitGroup
	for _, s := range schemas {
		for i := range 6 {
			wg.Go(func() {
				q := asked{path: []string{chat, messages}[i%2], model: strings.ToLower(s), text: text, act: "good"}
				p.hear(t.Context(), q).want(t, q, answered)
			})
		}
	}
	wg.Wait()
	for _, x := range providers {
		for _, r := range x.requests() {
			if !strings.Contains(string(r.body), text) {
				t.Errorf("%s got %d bytes", x.name, len(r.body))
			}
			signed(t, x, r)
		}
	}
	if now := p.envoy(); now != envoy {
		t.Error("Envoy crashed")
	}
	p.rest(before, providers)
}
