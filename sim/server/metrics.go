package server

import (
	"math"
	"net/http"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-ai/fairway/sim/engine"
)

// metrics answers with vLLM's metrics page.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	f := s.Failures()
	if f.MetricsDelay > 0 {
		due := make(chan struct{})
		stop := s.clock.AfterFunc(time.Duration(f.MetricsDelay), func() { close(due) })
		defer stop()
		select {
		case <-due:
		case <-r.Context().Done():
			return
		case <-s.closing:
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	page := s.metricsPage()
	if f.MetricsGarbage {
		page = garbage(page)
	}
	_, _ = w.Write(page)
}

// garbage is a page of the same size that no parser takes.
func garbage(page []byte) []byte {
	for i := range page {
		page[i] = page[i]*31 + byte(i*7) | 0x80
	}
	return page
}

func (s *Server) metricsPage() []byte {
	d := s.driver
	d.mu.Lock()
	stats, totals := d.eng.Stats(), d.totals.clone()
	running, waiting := d.eng.Adapters()
	d.mu.Unlock()
	p := &page{b: make([]byte, 0, 96<<10), created: s.started, labels: `engine="` + itoa(s.cfg.Rank) + `",model_name="` + escapeLabel(s.cfg.Model) + `"`}
	p.process(s.started)
	s.mu.Lock()
	loras := len(s.adapters) > 0
	totals.mediaQueries, totals.mediaHits = s.encoder.queries, s.encoder.hits
	s.mu.Unlock()
	p.engine(stats, &totals)
	p.cacheConfig(s.cfg.Engine, s.cfg.Rank)
	p.stages(&s.stages)
	if loras {
		p.family("vllm:lora_requests_info", "Running stats on lora requests.", "gauge")
		p.sample("vllm:lora_requests_info", `max_lora="`+itoa(s.cfg.Engine.MaxLoRA)+`",running_lora_adapters="`+
			escapeLabel(strings.Join(running, ","))+`",waiting_lora_adapters="`+escapeLabel(strings.Join(waiting, ","))+`"`,
			float64(s.clock.Now().UnixNano())/1e9)
	}
	p.http(&s.http)
	return p.b
}

// page is a metrics page in Prometheus' text format, in the style of Python's
// client, which vLLM uses.
type page struct {
	b       []byte
	labels  string // of every engine metric
	created time.Time
}

func (p *page) family(name, help, kind string) {
	p.b = append(p.b, "# HELP "+name+" "+help+"\n# TYPE "+name+" "+kind+"\n"...)
}

func (p *page) sample(name, labels string, v float64) {
	p.b = append(p.b, name...)
	if labels != "" {
		p.b = append(p.b, '{')
		p.b = append(p.b, labels...)
		p.b = append(p.b, '}')
	}
	p.b = append(p.b, ' ')
	p.b = append(p.b, number(v)...)
	p.b = append(p.b, '\n')
}

// number writes a float as Python does.
func number(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case v == math.Trunc(v) && math.Abs(v) < 1e16:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

func escapeLabel(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)
}

func (p *page) gauge(name, help string, v float64) {
	p.family(name, help, "gauge")
	p.sample(name, p.labels, v)
}

// counter writes a counter and, as Python's client does, when it began.
func (p *page) counter(name, help string, v float64) {
	p.family(name+"_total", help, "counter")
	p.sample(name+"_total", p.labels, v)
	p.began(name, help, p.labels)
}

func (p *page) began(name, help string, labels string) {
	p.family(name+"_created", help, "gauge")
	p.sample(name+"_created", labels, float64(p.created.UnixNano())/1e9)
}

func (p *page) buckets(name, labels string, h *histogram) {
	var n uint64
	if labels != "" {
		labels += ","
	}
	for i, count := range h.counts {
		n += count
		bound := math.Inf(1)
		if i < len(h.bounds) {
			bound = h.bounds[i]
		}
		p.sample(name+"_bucket", labels+`le="`+number(bound)+`"`, float64(n))
	}
	labels = strings.TrimSuffix(labels, ",")
	p.sample(name+"_count", labels, float64(n))
	p.sample(name+"_sum", labels, h.sum)
}

// process is what every Python server shows of itself.
func (p *page) process(started time.Time) {
	samples := []metrics.Sample{
		{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/gc/heap/frees:objects"}, {Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"},
	}
	metrics.Read(samples)
	value := func(i int) float64 {
		if samples[i].Value.Kind() != metrics.KindUint64 {
			return 0
		}
		return float64(samples[i].Value.Uint64())
	}
	for _, f := range []struct {
		name, help string
		v          float64
	}{
		{"python_gc_objects_collected_total", "Objects collected during gc", value(1)},
		{"python_gc_objects_uncollectable_total", "Uncollectable objects found during GC", 0},
		{"python_gc_collections_total", "Number of times this generation was collected", value(0)},
	} {
		p.family(f.name, f.help, "counter")
		for generation := range 3 {
			v := 0.0
			if generation == 0 {
				v = f.v
			}
			p.sample(f.name, `generation="`+itoa(generation)+`"`, v)
		}
	}
	p.family("process_virtual_memory_bytes", "Virtual memory size in bytes.", "gauge")
	p.sample("process_virtual_memory_bytes", "", value(2))
	p.family("process_resident_memory_bytes", "Resident memory size in bytes.", "gauge")
	p.sample("process_resident_memory_bytes", "", value(3))
	p.family("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", "gauge")
	p.sample("process_start_time_seconds", "", float64(started.UnixNano())/1e9)
}

func (p *page) engine(s engine.Stats, t *totals) {
	p.gauge("vllm:num_requests_running", "Number of requests in model execution batches.", float64(s.Running))
	p.gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.", float64(s.Waiting))
	p.family("vllm:engine_sleep_state", "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.", "gauge")
	p.sample("vllm:engine_sleep_state", p.labels+`,sleep_state="awake"`, 1)
	p.sample("vllm:engine_sleep_state", p.labels+`,sleep_state="weights_offloaded"`, 0)
	p.sample("vllm:engine_sleep_state", p.labels+`,sleep_state="discard_all"`, 0)
	p.gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", s.KVUsage)
	for _, c := range []struct {
		name, help string
		v          int64
	}{
		{"vllm:prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", s.PrefixQueries},
		{"vllm:prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", s.PrefixHits},
		{"vllm:external_prefix_cache_queries", "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number of queried tokens.", s.ExternalQueries},
		{"vllm:external_prefix_cache_hits", "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of cached tokens.", s.ExternalHits},
		{"vllm:mm_cache_queries", "Multi-modal cache queries, in terms of number of queried items.", t.mediaQueries},
		{"vllm:mm_cache_hits", "Multi-modal cache hits, in terms of number of cached items.", t.mediaHits},
		{"vllm:num_preemptions", "Cumulative number of preemption from the engine.", s.Preemptions},
		{"vllm:prompt_tokens", "Number of prefill tokens processed.", s.PromptTokens},
		{"vllm:generation_tokens", "Number of generation tokens processed.", t.generation},
	} {
		p.counter(c.name, c.help, float64(c.v))
	}
	const success, help = "vllm:request_success", "Count of successfully processed requests."
	p.family(success+"_total", help, "counter")
	reasons := []string{"stop", "length", "abort", "error"}
	for _, reason := range reasons {
		v := t.success[reason]
		if reason == "abort" {
			v = t.aborted
		}
		p.sample(success+"_total", p.labels+`,finished_reason="`+reason+`"`, float64(v))
	}
	p.family(success+"_created", help, "gauge")
	for _, reason := range reasons {
		p.sample(success+"_created", p.labels+`,finished_reason="`+reason+`"`, float64(p.created.UnixNano())/1e9)
	}
	for i, h := range histogramNames() {
		p.family(h.name, h.help, "histogram")
		p.buckets(h.name, p.labels, &t.hists[i])
		p.began(h.name, h.help, p.labels)
	}
}

type metricName struct{ name, help string }

func histogramNames() [histCount]metricName {
	return [histCount]metricName{
		histIteration:       {"vllm:iteration_tokens_total", "Histogram of number of tokens per engine_step."},
		histPrompt:          {"vllm:request_prompt_tokens", "Number of prefill tokens processed."},
		histGeneration:      {"vllm:request_generation_tokens", "Number of generation tokens processed."},
		histMaxGeneration:   {"vllm:request_max_num_generation_tokens", "Histogram of maximum number of requested generation tokens."},
		histN:               {"vllm:request_params_n", "Histogram of the n request parameter."},
		histMaxTokens:       {"vllm:request_params_max_tokens", "Histogram of the max_tokens request parameter."},
		histPrefillComputed: {"vllm:request_prefill_kv_computed_tokens", "Histogram of new KV tokens computed during prefill (excluding cached tokens)."},
		histTTFT:            {"vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds."},
		histITL:             {"vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds."},
		histTPOT:            {"vllm:time_per_output_token_seconds", "Histogram of time per output token in seconds. DEPRECATED: Use vllm:inter_token_latency_seconds instead."},
		histMeanTPOT:        {"vllm:request_time_per_output_token_seconds", "Histogram of time_per_output_token_seconds per request."},
		histE2E:             {"vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds."},
		histQueue:           {"vllm:request_queue_time_seconds", "Histogram of time spent in WAITING phase for request."},
		histInference:       {"vllm:request_inference_time_seconds", "Histogram of time spent in RUNNING phase for request."},
		histPrefill:         {"vllm:request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request."},
		histDecode:          {"vllm:request_decode_time_seconds", "Histogram of time spent in DECODE phase for request."},
	}
}

// stages shows the transfers between servers as vLLM's NIXL connector does, and what
// the server has done of requests, which vLLM does not.
func (p *page) stages(t *stageTotals) {
	p.counter("vllm:nixl_num_failed_transfers", "Number of failed NIXL KV Cache transfers.", float64(t.failed.Load()))
	p.counter("vllm:nixl_num_kv_expired_reqs", "Number of requests that had their KV expire.", float64(t.expired.Load()))
	const name = "sim:requests_total"
	p.family(name, "Requests by what the simulated server did of them.", "counter")
	for _, s := range []stage{stageWhole, stagePrefill, stageDecode, stageEncode} {
		p.sample(name, p.labels+`,stage="`+string(s)+`"`, float64(t.of(s).Load()))
	}
}

func (p *page) cacheConfig(c engine.Config, rank int) {
	p.family("vllm:cache_config_info", "Information of the LLMEngine CacheConfig", "gauge")
	p.sample("vllm:cache_config_info", `block_size="`+itoa(c.BlockTokens)+`",cache_dtype="auto",calculate_kv_scales="False",`+
		`cpu_offload_gb="0",enable_prefix_caching="True",engine="`+itoa(rank)+`",gpu_memory_utilization="0.9",is_attention_free="False",`+
		`kv_cache_memory_bytes="None",mamba_block_size="None",mamba_cache_dtype="auto",num_cpu_blocks="None",`+
		`num_gpu_blocks="`+itoa(c.Blocks)+`",num_gpu_blocks_override="None",prefix_caching_hash_algo="sha256",`+
		`sliding_window="None",swap_space="4"`, 1)
}

func (p *page) http(h *httpTotals) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p.family("http_requests_total", "Total number of requests by method, status and handler.", "counter")
	for _, r := range h.routes {
		for class := 1; class <= 5; class++ {
			status := itoa(class) + "xx"
			if n := h.requests[r][status]; n > 0 {
				p.sample("http_requests_total", `handler="`+r.path+`",method="`+r.method+`",status="`+status+`"`, float64(n))
			}
		}
	}
	p.family("http_request_duration_highr_seconds", "Latency with many buckets but no API specific labels.", "histogram")
	p.buckets("http_request_duration_highr_seconds", "", &h.all)
	p.family("http_request_duration_seconds", "Latency with only few buckets by handler.", "histogram")
	for _, r := range h.routes {
		l := h.latency[r]
		p.buckets("http_request_duration_seconds", `handler="`+r.path+`",method="`+r.method+`"`, &l)
	}
}
