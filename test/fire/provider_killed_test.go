package fire

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/fairway-ai/fairway/test/realenvoy"
)

// orphan makes an --envoy that outlives fairway run, as Envoy does in a cluster, and
// returns its path and, once it runs, its process ID.
func orphan(t *testing.T) (path string, pid func() int) {
	t.Helper()
	dir := t.TempDir()
	envoy, err := filepath.Abs(realenvoy.Path(t))
	if err != nil {
		t.Fatal(err)
	}
	path, note := filepath.Join(dir, "envoy"), filepath.Join(dir, "pid")
	script := "#!/bin/sh\n'" + envoy + "' \"$@\" &\necho $! >'" + note + "'\nwait $!\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	pid = func() int {
		text, err := os.ReadFile(note)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Cleanup(func() {
		if n := pid(); running(n) == nil {
			_ = syscall.Kill(n, syscall.SIGKILL) // ended by now, then
		}
	})
	return path, pid
}

// mixedLoad asks for models without pause, streamed and not, in both APIs.
type mixedLoad struct {
	t     *testing.T
	wg    sync.WaitGroup
	over  atomic.Bool
	dying atomic.Bool // set before Fairway is killed
	dead  atomic.Bool // set when it has ended
	done  atomic.Int64
}

// start asks with clients per model; judge is told each outcome, and whether Fairway was
// certainly alive when the request began and ended, or certainly dead when it began.
func (l *mixedLoad) start(p *program, models []string, judge func(q asked, h *heard, alive, dead bool)) {
	for i, model := range models {
		for c := range 4 {
			q := asked{path: []string{chat, messages}[c%2], model: model, stream: c/2 == 1, act: "good", text: fmt.Sprint(i, c, strings.Repeat("why is that so? ", 300*(c+1)))}
			l.wg.Go(func() {
				for !l.over.Load() {
					dead := l.dead.Load()
					h := p.hear(context.Background(), q)
					judge(q, h, !l.dying.Load(), dead)
					l.done.Add(1)
				}
			})
		}
	}
}

func (l *mixedLoad) more(n int64) {
	l.t.Helper()
	target := l.done.Load() + n
	eventually(l.t, "requests are answered", func() error {
		if have := l.done.Load(); have < target {
			return fmt.Errorf("%d short", target-have)
		}
		return nil
	})
}

// kill ends Fairway as kill -9 does, once each of the providers was asked so often.
func (l *mixedLoad) kill(p *program, asked int, providers ...*provider) {
	l.t.Helper()
	for _, x := range providers {
		eventually(l.t, x.name+" is asked", func() error {
			if n := len(x.requests()); n < asked {
				return fmt.Errorf("%d times of %d, so little was tested", n, asked)
			}
			return nil
		})
	}
	l.dying.Store(true)
	p.signal(syscall.SIGKILL)
	gone(l.t, p.cmd.Process.Pid)
	l.dead.Store(true)
}

func (l *mixedLoad) stop() {
	l.over.Store(true)
	l.wg.Wait()
}

// Fairway killed under load, with Envoy left: pools that fail open are served on, and
// what was sent to providers was translated and signed, every byte of it. What could
// not be is an error in the client's schema.
func TestKilledWithPoolsFirst(t *testing.T) {
	f := newAIFile()
	server := answering(t, bothAPIs)
	anthropic, bedrock := newProvider(t, "anthropic", "Anthropic"), newProvider(t, "bedrock", "AWSBedrock")
	f.backend("anthropic", "Anthropic", anthropic.addr)
	f.backend("bedrock", "AWSBedrock", bedrock.addr)
	f.rule("pooled", "", "pool:local", "anthropic")
	// Pools without endpoints, so that the providers are asked although no rule begins
	// with one.
	f.rule("claude", "", "pool:none", "anthropic")
	f.rule("nova", "", "pool:none", "bedrock")
	f.pools("none", "local", server)
	envoy, _ := orphan(t)
	p := f.run(t, "--envoy", envoy)
	l := &mixedLoad{t: t}
	defer l.stop()
	l.start(p, []string{"pooled", "claude", "nova"}, func(q asked, h *heard, alive, dead bool) {
		switch {
		case q.model == "pooled" || alive:
			h.want(t, q, answered)
		case dead: // nobody can tell that it is for a provider
			h.want(t, q, answered)
			if h.header.Get("x-server") != server.addr {
				t.Errorf("%v: answered by %v", q, h.header)
			}
		default:
			h.want(t, q, answered, refused, cut)
		}
	})
	l.more(120)
	l.kill(p, 20, anthropic, bedrock)
	a, b := len(anthropic.requests()), len(bedrock.requests())
	l.more(150)
	l.stop()
	for _, x := range []*provider{anthropic, bedrock} {
		for _, r := range x.requests() {
			signed(t, x, r)
		}
	}
	// Those that were on their way.
	if n := len(anthropic.requests()) + len(bedrock.requests()) - a - b; n > 8 {
		t.Errorf("%d requests went to providers without Fairway", n)
	}
}

// With rules that begin with a provider, nobody is served without Fairway, at once and in
// the client's schema.
func TestKilledWithProvidersFirst(t *testing.T) {
	f := newAIFile()
	providers := trio(t, f)
	server := answering(t, bothAPIs)
	f.rule("pooled", "", "pool:local")
	f.pools("none", "local", server)
	envoy, _ := orphan(t)
	p := f.run(t, "--envoy", envoy)
	l := &mixedLoad{t: t}
	defer l.stop()
	l.start(p, []string{"openai", "anthropic", "awsbedrock", "pooled"}, func(q asked, h *heard, alive, dead bool) {
		switch {
		case alive:
			h.want(t, q, answered)
		case dead:
			h.want(t, q, refused)
			if h.status != 503 {
				t.Errorf("%v: status %d", q, h.status)
			}
		default:
			h.want(t, q, answered, refused, cut)
		}
	})
	l.more(120)
	l.kill(p, 10, providers["OpenAI"], providers["Anthropic"], providers["AWSBedrock"])
	l.more(150)
	l.stop()
	for _, x := range providers {
		for _, r := range x.requests() {
			signed(t, x, r)
		}
	}
}
