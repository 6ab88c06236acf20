package scrape

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func testEngine(t testing.TB, name string) *Engine {
	t.Helper()
	es, err := NewEngines(EnginesOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e, ok := es.For(map[string]string{EngineLabel: name})
	if !ok {
		t.Fatalf("engine %q is unknown", name)
	}
	return e
}

func TestReadEngines(t *testing.T) {
	vllm, err := os.ReadFile("testdata/vllm.prom")
	if err != nil {
		t.Fatal(err)
	}
	triton := `
nv_trt_llm_request_metrics{model="m",request_type="context",version="1"} 1
nv_trt_llm_request_metrics{model="m",request_type="scheduled",version="1"} 6
nv_trt_llm_request_metrics{model="m",request_type="waiting",version="1"} 2
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="m"} 0.25
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="tokens_per",model="m"} 64
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="used",model="m"} 100
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="max",model="m"} 400
`
	trtllm := `
trtllm_num_requests_waiting 2
trtllm_num_requests_running 6
trtllm_kv_cache_utilization 0.25
trtllm_kv_cache_tokens_per_block 64
trtllm_kv_cache_max_blocks 400
`
	nvidia := Values{Waiting: 2, Running: 6, KVUsage: .25, BlockTokens: 64, Blocks: 400}
	for name, tc := range map[string]struct {
		engine, page string
		want         Values
	}{
		"vllm, a real page of two ranks": {"vllm", string(vllm), Values{
			Waiting: 3, Running: 29, KVUsage: .375, BlockTokens: 16, Blocks: 27014 + 27114,
			MaxLoRA: 4, ActiveLoRA: []string{"sql-adapter", "json-adapter"}, WaitingLoRA: []string{"summariser"},
		}},
		"vllm, old cache metric": {"vllm", "vllm:gpu_cache_usage_perc 0.5\n", Values{KVUsage: .5}},
		"vllm, both cache metrics": {"vllm",
			"vllm:gpu_cache_usage_perc 0.5\nvllm:kv_cache_usage_perc 0.25\nvllm:gpu_cache_usage_perc 0.5\n", Values{KVUsage: .25}},
		"vllm, cache not sized yet": {"vllm",
			"vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"None\"} 1.0\n", Values{BlockTokens: 16}},
		"vllm, odd values": {"vllm",
			"vllm:num_requests_waiting NaN\nvllm:num_requests_running -3\nvllm:num_requests_waiting +Inf\nvllm:kv_cache_usage_perc 7\n",
			Values{KVUsage: 1}},
		"vllm, huge values": {"vllm", "vllm:num_requests_waiting 1e300\nvllm:num_requests_waiting 1e300\n", Values{Waiting: 1<<31 - 1}},
		"vllm, adapter list": {"vllm",
			`vllm:lora_requests_info{max_lora="2",running_lora_adapters=" a ,,b\"c,",waiting_lora_adapters=","} 5` + "\n",
			Values{MaxLoRA: 2, ActiveLoRA: []string{"a", `b"c`}}},
		"vllm, adapters are not text": {"vllm",
			"vllm:lora_requests_info{max_lora=\"x\",running_lora_adapters=\"\xff\"} 5\n", Values{}},
		"sglang": {"sglang",
			"sglang:num_queue_reqs{model_name=\"m\"} 2.0\nsglang:num_running_reqs{model_name=\"m\"} 6.0\nsglang:token_usage{model_name=\"m\"} 0.25\n" +
				"sglang:cache_config_info{page_size=\"64\",num_pages=\"400\"} 1.0\n", nvidia},
		"trtllm-serve":        {"trtllm-serve", trtllm, nvidia},
		"trtllm":              {"trtllm", trtllm, nvidia},
		"triton-tensorrt-llm": {"triton-tensorrt-llm", triton, nvidia},
		"triton":              {"triton", triton, nvidia},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Read(strings.NewReader(tc.page), testEngine(t, tc.engine), DefaultMaxPage)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestReadRefusesOtherPages(t *testing.T) {
	for name, page := range map[string]string{
		"empty":        "",
		"HTML":         "<html><body>vllm:num_requests_waiting 3</body></html>\n",
		"other engine": "sglang:num_queue_reqs 3\n",
		"malformed":    "vllm:num_requests_waiting three\n",
	} {
		if v, err := Read(strings.NewReader(page), testEngine(t, "vllm"), DefaultMaxPage); !errors.Is(err, ErrNoSeries) {
			t.Errorf("%s: %+v, %v, want ErrNoSeries", name, v, err)
		}
	}
}

func TestEngines(t *testing.T) {
	es, err := NewEngines(EnginesOptions{
		Default: "mine",
		Label:   "engine",
		Mappings: map[string]Mapping{
			"mine": {Waiting: `queue{kind="all"}`, KVUsage: []string{"kv"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		labels map[string]string
		want   string
		ok     bool
	}{
		{nil, "mine", true},
		{map[string]string{EngineLabel: "sglang"}, "sglang", true},
		{map[string]string{LegacyEngineLabel: "triton"}, "triton", true},
		{map[string]string{EngineLabel: "vllm", LegacyEngineLabel: "triton"}, "vllm", true},
		{map[string]string{"engine": "trtllm", EngineLabel: "vllm"}, "trtllm", true},
		{map[string]string{EngineLabel: "llama.cpp"}, "mine", false},
	} {
		e, ok := es.For(tc.labels)
		if e.Name() != tc.want || ok != tc.ok {
			t.Errorf("For(%v) = %s, %v, want %s, %v", tc.labels, e.Name(), ok, tc.want, tc.ok)
		}
	}
	e, _ := es.For(nil)
	got, err := Read(strings.NewReader("queue{kind=\"some\"} 5\nqueue{kind=\"all\"} 7\nqueue 9\n"), e, 1<<20)
	if err != nil || got.Waiting != 7 {
		t.Errorf("custom series: %+v, %v, want waiting 7", got, err)
	}
	if v, ok := Builtin("vllm"); !ok || v.Waiting != "vllm:num_requests_waiting" {
		t.Errorf("Builtin(vllm) = %+v, %v", v, ok)
	}
}

func TestEnginesErrors(t *testing.T) {
	for name, tc := range map[string]struct {
		o    EnginesOptions
		want string
	}{
		"unknown default": {EnginesOptions{Default: "x"},
			`default engine "x": is unknown; name one of sglang, triton, triton-tensorrt-llm, trtllm, trtllm-serve, vllm`},
		"no series": {EnginesOptions{Mappings: map[string]Mapping{"m": {}}}, `engine "m": names no series; name at least one`},
		"no name": {EnginesOptions{Mappings: map[string]Mapping{"m": {Waiting: "{a=b}"}}},
			`engine "m": waiting: series "{a=b}": has no metric name; write name or name{label=value}`},
		"bad name": {EnginesOptions{Mappings: map[string]Mapping{"m": {Running: "a-b"}}},
			`engine "m": running: series "a-b": has a character that metric names do not have; write name or name{label=value}`},
		"open brace": {EnginesOptions{Mappings: map[string]Mapping{"m": {LoRA: "a{b=c"}}},
			`engine "m": lora: series "a{b=c": has no closing brace; write name or name{label=value}`},
		"no label": {EnginesOptions{Mappings: map[string]Mapping{"m": {Blocks: "a{b}"}}},
			`engine "m": blocks: series "a{b}": has a selector that is not label=value; write name or name{label=value}`},
		"two labels": {EnginesOptions{Mappings: map[string]Mapping{"m": {KVUsage: []string{"a{b=c,d=e}"}}}},
			`engine "m": kvUsage: series "a{b=c,d=e}": has more than one selector, or a selector with odd characters; write name or name{label=value}`},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewEngines(tc.o); err == nil || err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestScanAllocatesNothingPerLine(t *testing.T) {
	var page bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&page, "vllm:num_requests_waiting{engine=\"%d\",model_name=\"m\"} %d.5\n", i, i)
		fmt.Fprintf(&page, "vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"a\"} 1.758626457736887%de+09\n", i)
	}
	e, buf, r := testEngine(t, "vllm"), make([]byte, bufferSize), new(bytes.Reader)
	allocs := testing.AllocsPerRun(10, func() {
		r.Reset(page.Bytes())
		if _, err := read(r, buf, e, 1<<30); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 20 {
		t.Errorf("%.0f allocations for 2000 lines", allocs)
	}
}

func BenchmarkRead(b *testing.B) {
	page, err := os.ReadFile("testdata/vllm.prom")
	if err != nil {
		b.Fatal(err)
	}
	e, buf, r := testEngine(b, "vllm"), make([]byte, bufferSize), new(bytes.Reader)
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(page)
		if _, err := read(r, buf, e, DefaultMaxPage); err != nil {
			b.Fatal(err)
		}
	}
}

// TestReadCustom: series of one's own come in their order, added up, and NaN where the
// page has none.
func TestReadCustom(t *testing.T) {
	es, err := NewEngines(EnginesOptions{Mappings: map[string]Mapping{
		"mine": {Waiting: "my_queue", Custom: []string{"my_depth{tier=gold}", "", "my_depth", "my_heat"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	e, _ := es.For(map[string]string{EngineLabel: "mine"})
	v, err := Read(strings.NewReader("my_queue 3\nmy_depth{tier=\"gold\"} 2.5\nmy_depth{tier=\"lead\"} 4\nmy_heat NaN\n"), e, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(v.Custom); got != "[2.5 NaN 6.5 NaN]" || v.Waiting != 3 {
		t.Errorf("custom %s, waiting %d", got, v.Waiting)
	}
	if _, err := NewEngines(EnginesOptions{Mappings: map[string]Mapping{"mine": {Waiting: "q", Custom: []string{"bad name"}}}}); err == nil {
		t.Error("a series that is none was accepted")
	}
	if v, err := Read(strings.NewReader("vllm:num_requests_waiting 1\n"), testEngine(t, "vllm"), 1<<20); err != nil || v.Custom != nil {
		t.Errorf("custom %v of an engine without any, %v", v.Custom, err)
	}
}
