package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/sim/engine"
)

func TestLoRA(t *testing.T) {
	config := fast()
	config.Adapters = []string{"sql", "json"}
	c := newClient(t, config)
	long := quote(strings.Repeat("same prompt ", 50))
	cached := func(model string) int {
		v := c.ok("/v1/completions", `{"model":"`+model+`","prompt":`+long+`}`)
		if v["model"] != model {
			t.Fatal(v)
		}
		return num(t, v, "usage", "prompt_tokens_details", "cached_tokens")
	}
	if cached("sim") != 0 || cached("sql") != 0 || cached("json") != 0 || cached("sql") == 0 {
		t.Fatal("adapters must not share cached blocks, but must find their own")
	}
	c.ok("/v1/models", "")
	for _, tc := range []struct {
		path, body string
		status     int
	}{
		{"/v1/completions", `{"model":"new","prompt":"x"}`, 404},
		{"/v1/load_lora_adapter", `{"lora_name":"new"}`, 400},
		{"/v1/load_lora_adapter", `{"lora_name":"new","lora_path":"p"}`, 200},
		{"/v1/load_lora_adapter", `{"lora_name":"new","lora_path":"p"}`, 400},
		{"/v1/completions", `{"model":"new","prompt":"x"}`, 200},
		{"/v1/unload_lora_adapter", `{"lora_name":"new"}`, 200},
		{"/v1/unload_lora_adapter", `{"lora_name":"new"}`, 404},
		{"/v1/completions", `{"model":"new","prompt":"x"}`, 404},
	} {
		if status, body := c.do(tc.path, tc.body); status != tc.status {
			t.Fatalf("%s %s: %d %s", tc.path, tc.body, status, body)
		}
	}
}

func TestLoRAMetrics(t *testing.T) {
	config := slow()
	config.Adapters, config.Engine.MaxLoRA = []string{"sql", `a"b`}, 1
	c := newClient(t, config)
	c.background("/v1/completions", `{"model":"sql","prompt":"x"}`)
	eventually(t, "sql runs", func() bool { return c.metric("vllm:num_requests_running") == 1 })
	c.background("/v1/completions", `{"model":"a\"b","prompt":"x"}`)
	eventually(t, "the other waits", func() bool { return c.metric("vllm:num_requests_waiting") == 1 })
	families, _ := c.page()
	labels := map[string]string{}
	for _, l := range families["vllm:lora_requests_info"].Metric[0].Label {
		labels[l.GetName()] = l.GetValue()
	}
	if labels["max_lora"] != "1" || labels["running_lora_adapters"] != "sql" || labels["waiting_lora_adapters"] != `a"b` {
		t.Fatal(labels)
	}
}

func TestMetricsPage(t *testing.T) {
	config := fast()
	config.Model = "meta-llama/Llama-3.1-8B-Instruct"
	c := newClient(t, config)
	c.ok("/v1/completions", `{"prompt":"hello","max_tokens":5}`)
	families, size := c.page()
	if size < 50<<10 || size > 150<<10 {
		t.Errorf("the page has %d bytes", size)
	}
	for _, name := range []string{
		"vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:cache_config_info",
		"vllm:prefix_cache_queries_total", "vllm:num_preemptions_total", "vllm:request_success_total", "http_requests_total",
	} {
		if families[name] == nil || families[name].GetHelp() == "" {
			t.Errorf("no %s", name)
		}
	}
	for name, want := range map[string]uint64{
		"vllm:time_to_first_token_seconds": 1, "vllm:inter_token_latency_seconds": 4, "vllm:e2e_request_latency_seconds": 1,
		"vllm:request_generation_tokens": 1, "vllm:iteration_tokens_total": 5, "http_request_duration_highr_seconds": 1,
	} {
		m := families[name].Metric[0]
		if got := m.Histogram.GetSampleCount(); got != want {
			t.Errorf("%s: %d samples, want %d", name, got, want)
		}
		if len(m.Histogram.Bucket) < 10 {
			t.Errorf("%s has %d buckets", name, len(m.Histogram.Bucket))
		}
	}
	labels := map[string]string{}
	for _, l := range families["vllm:num_requests_running"].Metric[0].Label {
		labels[l.GetName()] = l.GetValue()
	}
	if labels["model_name"] != config.Model || labels["engine"] != "0" {
		t.Error(labels)
	}
}

func TestDisconnectCancels(t *testing.T) {
	for _, body := range []string{user("x", ""), user("x", `,"stream":true`)} {
		c := newClient(t, slow())
		stop := c.background("/v1/chat/completions", body)
		eventually(t, "it runs", func() bool { return c.metric("vllm:num_requests_running") == 1 })
		stop()
		eventually(t, "it is gone", func() bool { return c.metric("vllm:num_requests_running") == 0 })
		if c.metric("vllm:kv_cache_usage_perc") != 0 {
			t.Fatal("blocks are still held")
		}
	}
}

func TestFailures(t *testing.T) {
	c := newClient(t, fast())
	set := func(body string) {
		t.Helper()
		c.ok("/admin/config", body)
	}
	request := user("x", `,"max_tokens":10`)
	status := func() int { s, _ := c.do("/v1/chat/completions", request); return s }

	set(`{"errorRate":1}`)
	if status() != 500 {
		t.Fatal("errorRate")
	}
	set(`{"errorRate":0,"startDelay":"1h"}`)
	if h, _ := c.do("/health", ""); h != 503 || status() != 503 {
		t.Fatal("startDelay")
	}
	set(`{"startDelay":"0s"}`)
	if h, _ := c.do("/health", ""); h != 200 || status() != 200 {
		t.Fatal("after startDelay")
	}

	set(`{"hang":true}`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.send(ctx, http.MethodPost, "/v1/chat/completions", request); err == nil {
		t.Fatal("hang")
	}

	set(`{"hang":false,"dropAfter":3}`)
	res, err := c.send(t.Context(), http.MethodPost, "/v1/chat/completions", user("x", `,"max_tokens":10,"stream":true`))
	if err != nil {
		t.Fatal(err)
	}
	events, err := readEvents(res.Body)
	res.Body.Close()
	if err == nil || len(events) != 1+3 {
		t.Fatalf("dropAfter: %v after %d events", err, len(events))
	}
	if _, err := c.send(t.Context(), http.MethodPost, "/v1/chat/completions", request); err == nil {
		t.Fatal("dropAfter without streaming")
	}
	eventually(t, "nothing runs", func() bool { return c.metric("vllm:num_requests_running") == 0 })

	set(`{"dropAfter":0,"metricsGarbage":true}`)
	if _, text := c.do("/metrics", ""); strings.Contains(text, "vllm:") || len(text) < 1000 {
		t.Fatal("metricsGarbage")
	}
	set(`{"metricsGarbage":false,"metricsDelay":"1h"}`)
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.send(ctx, http.MethodGet, "/metrics", ""); err == nil {
		t.Fatal("metricsDelay")
	}
	set(`{"metricsDelay":"0s"}`)
	if c.s.Failures() != (Failures{}) || status() != 200 {
		t.Fatal("switched off")
	}
}

func TestErrorRateIsSeeded(t *testing.T) {
	run := func(seed uint64) (out string) {
		config := fast()
		config.Seed, config.Failures.ErrorRate = seed, .5
		c := newClient(t, config)
		for range 30 {
			status, _ := c.do("/tokenize", `{"prompt":"x"}`)
			out += fmt.Sprint(status/100, " ")
		}
		return out
	}
	a := run(1)
	if a != run(1) || a == run(2) || !strings.Contains(a, "5") || !strings.Contains(a, "2") {
		t.Fatal(a)
	}
}

func TestQueueFull(t *testing.T) {
	config := slow()
	config.Failures.MaxWaiting = 1
	c := newClient(t, config)
	c.background("/v1/chat/completions", user("running", ""))
	eventually(t, "one runs", func() bool { return c.metric("vllm:num_requests_running") == 1 })
	c.background("/v1/chat/completions", user("waiting", ""))
	eventually(t, "one waits", func() bool { return c.metric("vllm:num_requests_waiting") == 1 })
	status, body := c.do("/v1/chat/completions", user("refused", ""))
	if status != 429 || !strings.Contains(body, "TooManyRequestsError") {
		t.Fatal(status, body)
	}
	if status, body = c.do("/v1/messages", user("refused", `,"max_tokens":1`)); status != 429 || !strings.Contains(body, "rate_limit_error") {
		t.Fatal(status, body)
	}
}

// manualClock is a clock whose timers run when told.
type manualClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []manualTimer
}

type manualTimer struct {
	after time.Duration
	f     func()
}

func (c *manualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timers = append(c.timers, manualTimer{d, f})
	return func() bool { return true }
}

// next runs the only timer, late by some time.
func (c *manualClock) next(t *testing.T, late time.Duration) time.Duration {
	t.Helper()
	c.mu.Lock()
	if len(c.timers) != 1 {
		t.Fatalf("%d timers", len(c.timers))
	}
	timer := c.timers[0]
	c.timers = nil
	c.now = c.now.Add(max(0, timer.after) + late)
	c.mu.Unlock()
	timer.f()
	return timer.after
}

func TestDriverKeepsPaceAndRests(t *testing.T) {
	ms := time.Millisecond
	clock := &manualClock{now: time.Unix(1000, 0)}
	s, err := New(Config{Clock: clock, Speed: 2, Engine: engine.Config{StepBase: 20 * ms, StepPerSeq: 1, StepPerContextToken: 1, PrefillRate: 1e12}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	limit := 6
	j, aerr := s.prepare([]*prompt{textPrompt("x")}, "", "", sampling{limit: &limit})
	if aerr != nil {
		t.Fatal(aerr)
	}
	if len(clock.timers) != 0 {
		t.Fatal("an idle server has a timer")
	}
	if err := s.submit(j); err != nil {
		t.Fatal(err)
	}
	near := func(got, want time.Duration) {
		t.Helper()
		if d := got - want; d < -ms/100 || d > ms/100 {
			t.Fatalf("timer of %v, want about %v", got, want)
		}
	}
	near(clock.next(t, 4*ms), 10*ms)  // twice as fast as 20ms
	near(clock.next(t, 0), 6*ms)      // the delay is made up for
	near(clock.next(t, 25*ms), 10*ms) //
	near(clock.next(t, 0), -15*ms)    // overdue: at once
	near(clock.next(t, 10*time.Second), -5*ms)
	near(clock.next(t, 0), 10*ms) // after a long sleep, time goes on from now
	if a := j.answers[0]; !a.done.Load() || a.produced.Load() != 6 {
		t.Fatalf("%d tokens", a.produced.Load())
	}
	if len(clock.timers) != 0 {
		t.Fatal("an idle server has a timer")
	}
}

func TestRunDrains(t *testing.T) {
	config := Config{Speed: 20}
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t, s, "http://" + l.Addr().String()}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx, l) }()
	res, err := c.send(t.Context(), http.MethodPost, "/v1/chat/completions", user("x", `,"max_tokens":200,"stream":true`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	one := make([]byte, 1)
	if _, err := io.ReadFull(res.Body, one); err != nil {
		t.Fatal(err)
	}
	if err := s.SetFailures(Failures{Hang: true}); err != nil {
		t.Fatal(err)
	}
	c.background("/v1/chat/completions", user("hangs", ""))
	cancel()
	events, err := readEvents(res.Body)
	if err != nil || len(events) != 1+200+1+1 {
		t.Fatalf("%d events, %v: the shutdown cut an answer", len(events), err)
	}
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
}

func TestRunCutsWhatDoesNotEnd(t *testing.T) {
	config := slow()
	config.ShutdownTimeout = 10 * time.Millisecond
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t, s, "http://" + l.Addr().String()}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx, l) }()
	c.background("/v1/chat/completions", user("x", ""))
	eventually(t, "it runs", func() bool { return c.metric("vllm:num_requests_running") == 1 })
	cancel()
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	if err := s.driver.submit(nil, 0); err == nil {
		t.Fatal("a closed server takes requests")
	}
}

func TestConfigErrors(t *testing.T) {
	for want, c := range map[string]Config{
		"speed":        {Speed: -1},
		"model":        {Model: "a\nb"},
		"name":         {Name: strings.Repeat("x", 300)},
		"adapter":      {Adapters: []string{"a", "a"}},
		"names":        {Model: "m", Adapters: []string{"m"}},
		"body":         {MaxBody: -1},
		"length":       {MaxModelLen: 1 << 40},
		"errorRate":    {Failures: Failures{ErrorRate: 1.5}},
		"dropAfter":    {Failures: Failures{DropAfter: -1}},
		"maxWaiting":   {Failures: Failures{MaxWaiting: -1}},
		"startDelay":   {Failures: Failures{StartDelay: -1}},
		"metricsDelay": {Failures: Failures{MetricsDelay: Duration(1000 * time.Hour)}},
		"KV blocks":    {Engine: engine.Config{Blocks: -1}},
		"shutdown":     {ShutdownTimeout: -1},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
