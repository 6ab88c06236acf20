package envoygateway

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// provider is a server that speaks both APIs and keeps the last request.
type provider struct {
	addr string

	mu     sync.Mutex
	hold   chan struct{} // answers wait for it; nil for none
	came   int
	status int // 0 means 200
	path   string
	body   string
	header http.Header
}

func newProvider(t *testing.T) *provider {
	p := new(provider)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.mu.Lock()
		p.came++
		if hold := p.hold; hold != nil {
			p.mu.Unlock()
			<-hold
			p.mu.Lock()
		}
		defer p.mu.Unlock()
		p.path, p.body, p.header = r.URL.Path, string(body), r.Header.Clone()
		if p.status != 0 {
			w.WriteHeader(p.status)
			return
		}
		w.Header().Set("content-type", "application/json")
		if r.URL.Path == "/v1/messages" {
			fmt.Fprint(w, `{"id":"m","type":"message","role":"assistant","model":"x","content":[{"type":"text","text":"from `+p.addr+`"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`)
			return
		}
		fmt.Fprint(w, `{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"from `+p.addr+`"},"finish_reason":"stop"}]}`)
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	p.addr = s.Listener.Addr().String()
	return p
}

func (p *provider) answer(status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.path, p.body, p.header = status, "", "", nil
}

// An AIRoute's rules fall back as they say, in an Envoy that knows nothing but what the
// translation made, EDS, and real egress.
func TestRealEnvoyAIRoute(t *testing.T) {
	const feature, ns = "airoute-fallback", "airoute-fallback/"
	cloud, inside, qwen, dead := newProvider(t), newProvider(t), newProvider(t), testkit.Refused(t)
	place := func(b *airoute.Backend) {
		at := map[string]*provider{ns + "anthropic": cloud, ns + "inside": inside}[b.Label]
		if at == nil {
			return
		}
		host, port, err := net.SplitHostPort(at.addr)
		if err != nil {
			t.Fatal(err)
		}
		b.Host, b.TLS = host, airoute.TLS{Off: true}
		if _, err := fmt.Sscan(port, &b.Port); err != nil {
			t.Fatal(err)
		}
	}
	r := newPlacedRig(t, place, map[string][]string{ns + "llama": {dead}, ns + "qwen": {qwen.addr}}, feature)
	r.picker.picks[ns+"llama"] = dead
	const path = "/v1/chat/completions"
	ask := func(model string, headers ...string) (answer, error) {
		return r.post(feature, path, []byte(`{"model":"`+model+`","messages":[{"role":"user","content":"hello"}]}`), headers...)
	}
	realenvoy.Eventually(t, patience, "the first answer", func() error {
		a, err := ask("chain")
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("%v", a)
		}
		return err
	})
	from := func(model string, p *provider, backend string, headers ...string) {
		t.Helper()
		a, err := ask(model, headers...)
		if err != nil || a.status != http.StatusOK || a.header.Get(xds.BackendHeader) != ns+backend ||
			!strings.Contains(a.body, "from "+p.addr) || !strings.Contains(a.body, `"chat.completion"`) {
			t.Errorf("%s: %v, %v; want an answer of %s", model, a, err, backend)
		}
	}

	t.Run("provider after a pool", func(t *testing.T) {
		cloud.answer(0)
		from("chain", cloud, "anthropic", xds.RouteHeader, ns+"chat/pools", "authorization", "Bearer the-client's")
		if cloud.path != "/v1/messages" || !strings.Contains(cloud.body, `"claude-fast"`) {
			t.Errorf("the provider got %s %s", cloud.path, cloud.body)
		}
		for h := range cloud.header {
			if h = strings.ToLower(h); strings.HasPrefix(h, "x-fairway") || strings.HasPrefix(h, "x-gateway") || h == "authorization" || h == "x-envoy-external-address" {
				t.Errorf("the provider got %s", h)
			}
		}
	})
	t.Run("all of a dead pool's requests", func(t *testing.T) {
		const all = 150 // more than any budget of retries would let go at once
		hold := make(chan struct{})
		cloud.answer(0)
		cloud.hold, cloud.came = hold, 0
		var ended sync.WaitGroup
		for range all {
			ended.Go(func() { from("chain", cloud, "anthropic") })
		}
		realenvoy.Eventually(t, patience, "all requests at the provider", func() error {
			cloud.mu.Lock()
			defer cloud.mu.Unlock()
			if cloud.came < all {
				return fmt.Errorf("%d are there", cloud.came)
			}
			cloud.hold = nil
			return nil
		})
		close(hold)
		ended.Wait()
	})
	t.Run("pool after a provider", func(t *testing.T) {
		cloud.answer(http.StatusServiceUnavailable)
		from("chain", qwen, "qwen")
		if qwen.path != path || !strings.Contains(qwen.body, `"model":"chain"`) {
			t.Errorf("the pool got %s %s", qwen.path, qwen.body)
		}
		cloud.answer(0)
	})
	t.Run("pool after a pool", func(t *testing.T) { from("pools", qwen, "qwen") })
	t.Run("pool past a full pool", func(t *testing.T) {
		set := func(pool, pick string) {
			r.picker.mu.Lock()
			defer r.picker.mu.Unlock()
			r.picker.picks[ns+pool] = pick
		}
		set("llama", full)
		set("qwen", qwen.addr)
		from("pools", qwen, "qwen")
		set("llama", dead)
		set("qwen", "")
	})
	t.Run("pool in another schema", func(t *testing.T) {
		from("schema", qwen, "claude-pool")
		if qwen.path != "/v1/messages" {
			t.Errorf("the pool got %s", qwen.path)
		}
	})
	t.Run("provider after a pool in another schema", func(t *testing.T) {
		qwen.answer(http.StatusInternalServerError)
		from("schema", inside, "inside")
		qwen.answer(0)
	})
	t.Run("catalogue", func(t *testing.T) {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/v1/models", r.ports[feature+"/gw/http"]))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"id":"pools"`) {
			t.Errorf("%d %s, %v", resp.StatusCode, body, err)
		}
	})
	t.Run("unknown model", func(t *testing.T) {
		if a, err := ask("nobody-has-it"); err != nil || a.status != http.StatusNotFound || !strings.Contains(a.body, "model_not_found") {
			t.Errorf("%v, %v", a, err)
		}
	})
	t.Run("no picker", func(t *testing.T) {
		r.stop()
		cloud.answer(0)
		realenvoy.Eventually(t, patience, "the pool alone", func() error {
			a, err := ask("chain")
			if err == nil && a.status != http.StatusServiceUnavailable { // the first pool, of which nobody answers
				err = fmt.Errorf("%v", a)
			}
			return err
		})
		cloud.answer(0)
		if a, err := ask("chain"); err != nil || a.status != http.StatusServiceUnavailable || !strings.HasPrefix(a.body, `{"error":`) {
			t.Errorf("%v, %v", a, err)
		}
		if cloud.path != "" {
			t.Error("a request that nobody saw reached the provider")
		}
	})
}
