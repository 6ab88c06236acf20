package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/fairway-ai/fairway/sim/engine"
)

// fast is a server whose steps take microseconds, slow one whose first step does
// not end within a test.
func fast() Config { return Config{Speed: 2000} }
func slow() Config { return Config{Engine: engine.Config{StepBase: 24 * time.Hour}} }

type client struct {
	t   *testing.T
	s   *Server
	url string
}

func newClient(t *testing.T, c Config) *client {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	hs := httptest.NewServer(s)
	t.Cleanup(func() { s.Close(); hs.Close() })
	return &client{t, s, hs.URL}
}

func (c *client) send(ctx context.Context, method, path, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	return http.DefaultClient.Do(req)
}

// do sends a request and returns status and body; a body starts a POST.
func (c *client) do(path, body string) (int, string) {
	c.t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	res, err := c.send(c.t.Context(), method, path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// ok sends a request that must succeed and returns its JSON.
func (c *client) ok(path, body string) map[string]any {
	c.t.Helper()
	status, text := c.do(path, body)
	if status != http.StatusOK {
		c.t.Fatalf("%s: %d %s", path, status, text)
	}
	return parse(c.t, text)
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// at walks into JSON by object keys (string) and array indices (int).
func at(t *testing.T, v any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok {
				t.Fatalf("no %q in %v", p, v)
			}
			v = m[p]
		case int:
			a, ok := v.([]any)
			if !ok || p >= len(a) {
				t.Fatalf("no [%d] in %v", p, v)
			}
			v = a[p]
		}
	}
	return v
}

func num(t *testing.T, v any, path ...any) int {
	t.Helper()
	f, ok := at(t, v, path...).(float64)
	if !ok {
		t.Fatalf("%v is not a number in %v", path, v)
	}
	return int(f)
}

// event is a server-sent event.
type event struct {
	name, data string
}

// stream sends a request and reads its events to the end.
func (c *client) stream(path, body string) []event {
	c.t.Helper()
	res, err := c.send(c.t.Context(), http.MethodPost, path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	if ct := res.Header.Get("Content-Type"); res.StatusCode != 200 || !strings.HasPrefix(ct, "text/event-stream") {
		b, _ := io.ReadAll(res.Body)
		c.t.Fatalf("%s: %d, %s: %s", path, res.StatusCode, ct, b)
	}
	events, err := readEvents(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return events
}

func readEvents(r io.Reader) ([]event, error) {
	var out []event
	var e event
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		switch line := sc.Text(); {
		case line == "":
			out = append(out, e)
			e = event{}
		case strings.HasPrefix(line, "event: "):
			e.name = line[7:]
		case strings.HasPrefix(line, "data: "):
			e.data += line[6:]
		}
	}
	return out, sc.Err()
}

// page fetches and parses the metrics page.
func (c *client) page() (map[string]*dto.MetricFamily, int) {
	c.t.Helper()
	status, text := c.do("/metrics", "")
	if status != 200 {
		c.t.Fatal(status, text)
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	families, err := p.TextToMetricFamilies(bytes.NewReader([]byte(text)))
	if err != nil {
		c.t.Fatal(err)
	}
	return families, len(text)
}

// metric returns the value of a metric without regard to its labels.
func (c *client) metric(name string) float64 {
	c.t.Helper()
	families, _ := c.page()
	f := families[name]
	if f == nil {
		c.t.Fatalf("no metric %s", name)
	}
	m := f.Metric[0]
	switch {
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	case m.Counter != nil:
		return m.Counter.GetValue()
	}
	return float64(m.Histogram.GetSampleCount())
}

// eventually polls a condition.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for range 4000 {
		if cond() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// background sends a request whose answer does not matter; stop cancels it.
func (c *client) background(path, body string) (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		res, err := c.send(ctx, http.MethodPost, path, body)
		if err == nil {
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
	}()
	c.t.Cleanup(func() { cancel(); <-done })
	return cancel
}

func user(text string, more string) string {
	return `{"model":"sim","messages":[{"role":"user","content":` + quote(text) + `}]` + more + `}`
}
