package envoy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// byPrefix names one endpoint, as that gateway needs, and looks at caches alone.
const byPrefix = `
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: prefix-cache-scorer
schedulingProfiles:
- name: default
  plugins:
  - {pluginRef: prefix-cache-scorer, weight: 1}
`

// TestKVCacheEvents puts fairway epp between a gateway that knows nothing of Fairway and
// two servers that publish what their KV caches hold.
func TestKVCacheEvents(t *testing.T) {
	envoy := realenvoy.Path(t)
	fairway, err := binary.build()
	if err != nil {
		t.Fatal(err)
	}
	write := testkit.Files(t)
	events, replays := testkit.FreePorts(t, 2), testkit.FreePorts(t, 2)
	ports, endpoints := [2]string{}, "endpoints:\n"
	for i := range ports {
		ports[i] = freePort(t)
		endpoints += fmt.Sprintf("- {name: server-rank-%d, address: 127.0.0.1, port: %q}\n", i, ports[i])
	}
	sim := func(i int) []string {
		return []string{
			"sim", "--host", "127.0.0.1", "--port", ports[i], "--name", "sim-" + strconv.Itoa(i), "--model", "m", "--speed", "100",
			"--kv-events-endpoint", fmt.Sprintf("tcp://*:%d", events+i), "--kv-events-replay-endpoint", fmt.Sprintf("tcp://*:%d", replays+i),
		}
	}
	background(t, fairway, sim(0)...)
	dying, kill := context.WithCancel(context.Background())
	defer kill()
	second := exec.CommandContext(dying, fairway, sim(1)...)
	if err := second.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kill(); _ = second.Wait() })

	gateway, picker, metrics := freePort(t), freePort(t), freePort(t)
	ask := func(port, path, body string) (by, text string, err error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		method := http.MethodPost
		if body == "" {
			method = http.MethodGet
		}
		req, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1:"+port+path, strings.NewReader(body))
		if err != nil {
			return "", "", err
		}
		req.Header.Set("content-type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", resp.Status, b)
		}
		return resp.Header.Get("x-sim-server"), string(b), err
	}
	long := func(name string) string {
		return `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"` + strings.Repeat(name+": the quick brown fox. ", 60) + `"}]}`
	}
	// direct returns how many blocks of 16 tokens the prompt has, if it is one.
	direct := func(i int, path, body string) int {
		t.Helper()
		_, text, err := ask(ports[i], path, body)
		if err != nil {
			t.Fatal(err)
		}
		var answer struct{ Usage usage }
		_ = json.Unmarshal([]byte(text), &answer) // no prompt, no JSON
		return answer.Usage.Prompt / 16
	}
	shows := func(series string) {
		t.Helper()
		eventually(t, series, func() error {
			_, page, err := ask(metrics, "/metrics", "")
			if err == nil && !strings.Contains(page, "\n"+series+"\n") {
				err = errors.New("not shown")
			}
			return err
		})
	}
	through := func(name, want string) {
		t.Helper()
		for range 3 {
			by, _, err := ask(gateway, chat, long(name))
			if err != nil || by != want {
				t.Fatalf("%s: served by %q, %v; want %s, which holds it", name, by, err, want)
			}
		}
	}
	for _, port := range ports {
		eventually(t, "a server answers", func() error {
			_, _, err := ask(port, "/health", "")
			return err
		})
	}
	background(t, fairway, "epp", "--kv-events", "--kv-events-port", strconv.Itoa(events), "--kv-events-replay-port", strconv.Itoa(replays),
		"--token-budget", "10s", "-f", write("fairway.yaml", endpoints), "--config-file", write("config.yaml", byPrefix), "--grpc-port", picker, "--grpc-health-port", "0", "--metrics-port", metrics)
	background(t, envoy, "--config-path", write("envoy.yaml", fmt.Sprintf(duplexBootstrap, gateway, picker)),
		"--disable-hot-restart", "--log-level", "error", "--concurrency", "1")
	eventually(t, "the gateway answers", func() error {
		_, _, err := ask(gateway, chat, `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"x"}]}`)
		return err
	})
	shows(`fairway_kv_cache_live_endpoints{pool="default/default"} 2`)

	// What servers hold that nobody sent them through the gateway.
	said, told := 0, time.Now()
	for i, name := range []string{"one", "two"} {
		said += direct(i, chat, long(name))
	}
	eventually(t, "both prompts are known", func() error {
		_, page, err := ask(metrics, "/metrics", "")
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(page, "\nfairway_kv_cache_blocks ")
		value, _, _ := strings.Cut(rest, "\n")
		n, _ := strconv.ParseFloat(value, 64)
		if n >= float64(said) {
			return nil
		}
		// A publisher does not send what comes before it has read the subscription; what
		// it says next has that replayed.
		if time.Since(told) > time.Second {
			for i := range ports {
				said += direct(i, chat, fmt.Sprintf(`{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"%s"}]}`, strings.Repeat(fmt.Sprint(time.Now().UnixNano(), " "), 4)))
			}
			told = time.Now()
		}
		return fmt.Errorf("%q blocks of %d", value, said)
	})
	through("one", "sim-0")
	through("two", "sim-1")
	_, decisions, err := ask(metrics, "/debug/fairway/decisions", "")
	if err != nil || !strings.Contains(decisions, `"tokensExact":true`) {
		t.Errorf("%v: no decision by exact tokens: %.300s", err, decisions)
	}

	// The other way round, once the caches were emptied.
	for i, name := range []string{"two", "one"} {
		direct(i, "/reset_prefix_cache", "{}")
		direct(i, chat, long(name))
	}
	eventually(t, "the prompts are known where they are now", func() error {
		by, _, err := ask(gateway, chat, long("two"))
		if err == nil && by != "sim-0" {
			err = fmt.Errorf("served by %s", by)
		}
		return err
	})
	through("two", "sim-0")

	kill()
	shows(`fairway_kv_cache_live_endpoints{pool="default/default"} 1`)
	// Until the server is known to be gone it counts as one that was sent the prompt.
	eventually(t, "the server that is left serves", func() error {
		by, _, err := ask(gateway, chat, long("two"))
		if err == nil && by != "sim-0" {
			err = fmt.Errorf("served by %s", by)
		}
		return err
	})
}
