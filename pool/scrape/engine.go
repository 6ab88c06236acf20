package scrape

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Labels of an endpoint that name its engine, the first one first.
const (
	EngineLabel       = "llm-d.ai/engine-type"
	LegacyEngineLabel = "inference.networking.k8s.io/engine-type"
)

// DefaultEngineName is the engine of endpoints that name none.
const DefaultEngineName = "vllm"

// Mapping says which series of a metrics page hold what, for one engine. A series
// is a metric name with an optional selector, as in
//
//	nv_trt_llm_request_metrics{request_type=waiting}
//
// and an empty string where the engine has none. Several series of one name (the
// data-parallel ranks of one server) are added up; KVUsage is their mean.
type Mapping struct {
	// Waiting and Running count requests in the queue and in the batch.
	Waiting, Running string
	// KVUsage are alternatives, the best first: the used share of the KV cache.
	KVUsage []string
	// BlockTokens and Blocks are the size of a KV block in tokens and the number
	// of blocks: the series' value, or the value of one of its labels when
	// BlockTokensLabel or BlocksLabel is set.
	BlockTokens, BlockTokensLabel string
	Blocks, BlocksLabel           string
	// LoRA is the adapters' info series, with labels max_lora,
	// running_lora_adapters and waiting_lora_adapters. The one with the largest
	// value, a time, counts.
	LoRA string
	// Custom are further series, whose places in Values.Custom are the same; empty
	// strings where the engine has none.
	Custom []string
}

// builtin are the engines of the model-server protocol of the Gateway API
// Inference Extension.
func builtin() map[string]Mapping {
	triton := Mapping{
		Waiting:     "nv_trt_llm_request_metrics{request_type=waiting}",
		Running:     "nv_trt_llm_request_metrics{request_type=scheduled}",
		KVUsage:     []string{"nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}"},
		BlockTokens: "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=tokens_per}",
		Blocks:      "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=max}",
	}
	trtllm := Mapping{
		Waiting:     "trtllm_num_requests_waiting",
		Running:     "trtllm_num_requests_running",
		KVUsage:     []string{"trtllm_kv_cache_utilization"},
		BlockTokens: "trtllm_kv_cache_tokens_per_block",
		Blocks:      "trtllm_kv_cache_max_blocks",
	}
	return map[string]Mapping{
		"vllm": {
			Waiting: "vllm:num_requests_waiting",
			Running: "vllm:num_requests_running",
			// The second is the older name; versions in between have both.
			KVUsage:          []string{"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"},
			BlockTokens:      "vllm:cache_config_info",
			BlockTokensLabel: "block_size",
			Blocks:           "vllm:cache_config_info",
			BlocksLabel:      "num_gpu_blocks",
			LoRA:             "vllm:lora_requests_info",
		},
		"sglang": {
			Waiting:          "sglang:num_queue_reqs",
			Running:          "sglang:num_running_reqs",
			KVUsage:          []string{"sglang:token_usage"},
			BlockTokens:      "sglang:cache_config_info",
			BlockTokensLabel: "page_size",
			Blocks:           "sglang:cache_config_info",
			BlocksLabel:      "num_pages",
		},
		"trtllm-serve":        trtllm,
		"trtllm":              trtllm,
		"triton-tensorrt-llm": triton,
		"triton":              triton,
	}
}

// Builtin returns the mapping of a built-in engine, as a start for a custom one.
func Builtin(name string) (Mapping, bool) {
	m, ok := builtin()[name]
	return m, ok
}

// Engines finds an endpoint's engine by its labels. It is immutable.
type Engines struct {
	byName map[string]*Engine
	label  string
	other  *Engine
}

// EnginesOptions adds to, or replaces, the built-in engines. The zero value has
// exactly those.
type EnginesOptions struct {
	// Mappings are engines by name.
	Mappings map[string]Mapping
	// Default is the engine of endpoints without an engine label; empty means
	// [DefaultEngineName].
	Default string
	// Label is looked at before [EngineLabel] and [LegacyEngineLabel].
	Label string
}

// NewEngines compiles the mappings. An error names the engine and the series.
func NewEngines(o EnginesOptions) (*Engines, error) {
	es := &Engines{byName: map[string]*Engine{}, label: o.Label}
	all := builtin()
	maps.Copy(all, o.Mappings)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		e, err := newEngine(name, all[name])
		if err != nil {
			return nil, fmt.Errorf("engine %q: %w", name, err)
		}
		es.byName[name] = e
	}
	if o.Default == "" {
		o.Default = DefaultEngineName
	}
	if es.other = es.byName[o.Default]; es.other == nil {
		return nil, fmt.Errorf("default engine %q: is unknown; name one of %s", o.Default, es.Names())
	}
	return es, nil
}

// For returns the engine that the labels name, and the default one, with ok
// false, when they name an unknown engine. Labels that name none have the default.
func (es *Engines) For(labels map[string]string) (e *Engine, ok bool) {
	for _, key := range []string{es.label, EngineLabel, LegacyEngineLabel} {
		if key == "" || labels[key] == "" {
			continue
		}
		if e, ok := es.byName[labels[key]]; ok {
			return e, true
		}
		return es.other, false
	}
	return es.other, true
}

// Names lists the known engines, separated by commas.
func (es *Engines) Names() string {
	return strings.Join(slices.Sorted(maps.Keys(es.byName)), ", ")
}

// Engine is a compiled [Mapping].
type Engine struct {
	name  string
	names names
	rules [][]rule // by index of names
	// custom is how many custom metrics there are.
	custom int
}

// Name is the engine-type label's value.
func (e *Engine) Name() string { return e.name }

// field is what a series holds.
type field uint8

const (
	fieldWaiting field = iota
	fieldRunning
	fieldKVUsage
	fieldBlockTokens
	fieldBlocks
	fieldLoRA
	fieldCustom
)

// rule takes a field from the samples of one metric name.
type rule struct {
	field         field
	rank          int    // of alternatives, the lowest found counts
	selects, want string // label and value a sample must have, when selects is set
	from          string // label that holds the number, when set
	at            int    // place in Values.Custom
}

func newEngine(name string, m Mapping) (*Engine, error) {
	e := &Engine{name: name}
	var all []string
	var errs []string
	add := func(r rule, key, spec string) {
		if spec == "" {
			return
		}
		metric, selects, want, err := parseSeries(spec)
		if err != nil {
			errs = append(errs, fmt.Sprintf("%s: %v", key, err))
			return
		}
		r.selects, r.want = selects, want
		i := slices.Index(all, metric)
		if i < 0 {
			i = len(all)
			all, e.rules = append(all, metric), append(e.rules, nil)
		}
		e.rules[i] = append(e.rules[i], r)
	}
	add(rule{field: fieldWaiting}, "waiting", m.Waiting)
	add(rule{field: fieldRunning}, "running", m.Running)
	for i, s := range m.KVUsage {
		add(rule{field: fieldKVUsage, rank: i}, "kvUsage", s)
	}
	add(rule{field: fieldBlockTokens, from: m.BlockTokensLabel}, "blockTokens", m.BlockTokens)
	add(rule{field: fieldBlocks, from: m.BlocksLabel}, "blocks", m.Blocks)
	add(rule{field: fieldLoRA}, "lora", m.LoRA)
	for i, s := range m.Custom {
		add(rule{field: fieldCustom, at: i}, "custom", s)
	}
	e.custom = len(m.Custom)
	if len(errs) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(errs, "; "))
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("names no series; name at least one")
	}
	e.names = newNames(all)
	return e, nil
}

// parseSeries parses name or name{label=value}, the value quoted or not.
func parseSeries(spec string) (metric, selects, want string, err error) {
	metric, sel, braces := strings.Cut(strings.TrimSpace(spec), "{")
	metric = strings.TrimSpace(metric)
	bad := func(what string) (string, string, string, error) {
		return "", "", "", fmt.Errorf("series %q: %s; write name or name{label=value}", spec, what)
	}
	for i := range len(metric) {
		if metric[i] != ':' && !nameByte(metric[i], i) {
			return bad("has a character that metric names do not have")
		}
	}
	if metric == "" {
		return bad("has no metric name")
	}
	if !braces {
		return metric, "", "", nil
	}
	sel, closed := strings.CutSuffix(strings.TrimSpace(sel), "}")
	if !closed {
		return bad("has no closing brace")
	}
	if strings.TrimSpace(sel) == "" {
		return metric, "", "", nil
	}
	selects, want, eq := strings.Cut(sel, "=")
	selects, want = strings.TrimSpace(selects), strings.TrimSpace(want)
	if !eq || selects == "" {
		return bad("has a selector that is not label=value")
	}
	if n := len(want); n >= 2 && want[0] == '"' && want[n-1] == '"' {
		want = want[1 : n-1]
	}
	if strings.ContainsAny(want, `",{}=`) {
		return bad("has more than one selector, or a selector with odd characters")
	}
	return metric, selects, want, nil
}
