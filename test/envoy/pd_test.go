package envoy

import (
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// uncached is a prompt of about 1900 tokens that begins as no other.
func uncached(name string) string { return asking(name + strings.Repeat(" a long prompt,", 500)) }

var countPattern = regexp.MustCompile(`(?m)^sim:requests_total\{.*stage="(\w+)"\} (\d+)`)

// did is how many requests the servers on the page's ports did a stage of.
func (g *guide) did(stage string, ports ...string) (n int) {
	g.t.Helper()
	for _, p := range ports {
		resp, err := http.Get("http://127.0.0.1:" + g.ports[p] + "/metrics")
		if err != nil {
			g.t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			g.t.Fatal(err)
		}
		for _, m := range countPattern.FindAllStringSubmatch(string(text), -1) {
			if m[1] == stage {
				var v int
				if _, err := fmt.Sscan(m[2], &v); err != nil {
					g.t.Fatal(err)
				}
				n += v
			}
		}
	}
	return n
}

func (g *guide) prefilled() int { return g.did("prefill", "8001", "8002") }

const pdPage = "../../docs/prefill-decode.md"

// TestPrefillDecodeGuide runs the commands of the guide.
func TestPrefillDecodeGuide(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl")
	}
	g := openGuide(t, pdPage)
	if len(g.blocks) != 3 {
		t.Fatalf("%d blocks of commands", len(g.blocks))
	}
	g.start(g.blocks[0])
	g.ready()
	if g.prefilled() != 0 {
		t.Fatal("a short prompt was processed elsewhere")
	}
	if out := g.run(g.blocks[1]); strings.Count(out, `"finish_reason":"length"`) != 2 {
		t.Errorf("got %s", out)
	}
	out := g.run(g.blocks[2])
	if strings.Count(out, `stage="prefill"} 1.0`) != 1 || strings.Count(out, `stage="prefill"} 0.0`) != 1 ||
		strings.Count(out, `stage="decode"} 1.0`) != 1 || !regexp.MustCompile(`stage="whole"} [1-9]`).MatchString(out) {
		t.Errorf("got %s", out)
	}

	t.Run("a cached prompt stays", func(t *testing.T) {
		g.t = t
		before := g.prefilled()
		first := g.post(uncached("cached"))
		again := g.post(uncached("cached"))
		if first.status != 200 || again.status != 200 || first.server() != again.server() || g.prefilled() != before+1 {
			t.Errorf("%d by %s, then %d by %s, prefilled %d", first.status, first.server(), again.status, again.server(), g.prefilled()-before)
		}
	})
	t.Run("a stream", func(t *testing.T) {
		g.t = t
		before := g.prefilled()
		body := strings.Replace(uncached("stream"), `"max_tokens"`, `"stream":true,"max_tokens"`, 1)
		if a := g.post(body); a.status != 200 || !strings.HasSuffix(a.body, "data: [DONE]\n\n") || g.prefilled() != before+1 {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("the client's headers are removed", func(t *testing.T) {
		g.t = t
		trap := newBackend(t, nil)
		a := g.post(asking("short"), "x-prefiller-host-port", trap.addr, "x-encoder-hosts-ports", trap.addr, "x-data-parallel-host-port", trap.addr, "x-data-parallel-rank", "7")
		b := g.post(picture("trap"), "x-encoder-hosts-ports", trap.addr, "x-prefiller-host-port", trap.addr)
		c := g.post(picture("another"), "x-llm-d-encoder-hosts-ports", trap.addr, "x-llm-d-prefiller-host-port", trap.addr, "x-llm-d-kv-cache-source-host-port", trap.addr)
		if a.status != 200 || b.status != 200 || c.status != 200 || trap.requests() != 0 {
			t.Errorf("%d %s, %d %s, %d requests went where the client said", a.status, a.body, b.status, b.body, trap.requests())
		}
	})
	t.Run("images", func(t *testing.T) {
		g.t = t
		encoded := g.did("encode", "8005")
		if a := g.post(picture("one")); a.status != 200 || g.did("encode", "8005") != encoded+1 {
			t.Errorf("%d %s: encoded %d", a.status, a.body, g.did("encode", "8005")-encoded)
		}
		before := g.prefilled()
		// All three stages.
		long := strings.Replace(picture("two"), "What is this?", "What is this?"+strings.Repeat(" a long prompt,", 500), 1)
		if a := g.post(long); a.status != 200 || g.did("encode", "8005") != encoded+2 || g.prefilled() != before+1 {
			t.Errorf("%d %s: encoded %d, prefilled %d", a.status, a.body, g.did("encode", "8005")-encoded, g.prefilled()-before)
		}
	})
	t.Run("a prefill server that fails", func(t *testing.T) {
		g.t = t
		fail := func(rate string) {
			for _, p := range []string{"8001", "8002"} {
				resp, err := http.Post("http://127.0.0.1:"+g.ports[p]+"/admin/config", "application/json", strings.NewReader(`{"errorRate":`+rate+`}`))
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
		}
		fail("1")
		if a := g.post(uncached("failing")); a.status != 500 || !strings.Contains(a.body, "told to fail") || !strings.HasPrefix(a.server(), "decode-") {
			t.Errorf("%d by %s: %s", a.status, a.server(), a.body)
		}
		fail("0")
	})
	t.Run("prefill servers that are gone", func(t *testing.T) {
		g.t = t
		g.procs["prefill-0"]()
		g.procs["prefill-1"]()
		n := 0
		eventually(t, "the decode server does it all", func() error {
			n++
			a := g.post(uncached(fmt.Sprint("gone ", n)))
			if a.status != 200 && a.status != 502 {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if a.status != 200 {
				return fmt.Errorf("%d %s", a.status, a.body)
			}
			return nil
		})
	})
}

func picture(name string) string {
	return fmt.Sprintf(`{"model":"sim","max_tokens":5,"messages":[{"role":"user","content":[{"type":"text","text":"What is this?"},{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}]}]}`, name)
}

// TestStageByHeader has a coordinator ask for one stage at a time.
func TestStageByHeader(t *testing.T) {
	g := openGuide(t, pdPage)
	block := strings.Replace(g.blocks[0], "epp-config.yaml", "by-header.yaml --allow-experimental-plugins", 1)
	g.start(block)
	g.ready()
	for profile, want := range map[string]string{"prefill": "prefill-", "decode": "decode-", "": "decode-"} {
		if a := g.post(asking("hello"), "EPP-Profile", profile); a.status != 200 || !strings.HasPrefix(a.server(), want) {
			t.Errorf("%q: %d by %s: %s", profile, a.status, a.server(), a.body)
		}
	}
	if a := g.post(asking("hello"), "EPP-Profile", "none"); a.status != 400 {
		t.Errorf("an unknown profile: %d %s", a.status, a.body)
	}
	if a := g.post(uncached("new"), "EPP-Profile", "decode", "Prefer", "if-available"); a.status != 412 {
		t.Errorf("an uncached prompt: %d %s", a.status, a.body)
	}
	if a := g.post(uncached("new"), "EPP-Profile", "decode"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := g.post(uncached("new"), "EPP-Profile", "decode", "Prefer", "if-available"); a.status != 200 {
		t.Errorf("a cached prompt: %d %s", a.status, a.body)
	}
	if a := g.post(asking("x"), "x-prefiller-host-port", "127.0.0.1:1", "EPP-Profile", "decode"); a.status != 200 {
		t.Errorf("the client's header: %d %s", a.status, a.body)
	}
}
