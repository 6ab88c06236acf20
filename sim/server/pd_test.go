package server

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/sim/engine"
)

// pair is a server that computes prompts and one that has them computed.
func pair(t *testing.T, change ...func(*Config)) (prefill, decode *client) {
	p, d := fast(), fast()
	p.Name, p.Role = "prefill", RolePrefill
	d.Name, d.Role, d.Sidecar = "decode", RoleDecode, true
	for _, f := range change {
		f(&p)
		f(&d)
	}
	return newClient(t, p), newClient(t, d)
}

func (c *client) host() string { return strings.TrimPrefix(c.url, "http://") }

// staged sends a request with headers and returns status and body.
func (c *client) staged(path, body string, headers ...string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
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

// did is how many requests the server took a stage of.
func (c *client) did(s stage) int64 { return c.s.stages.of(s).Load() }

func (c *client) kvUsage() float64 {
	d := c.s.driver
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.eng.Stats().KVUsage
}

var long = user(strings.Repeat("a long prompt, ", 400), `,"max_tokens":5`)

// handedOver asks a server to compute a prompt for another and returns its
// kv_transfer_params.
func handedOver(t *testing.T, c *client, more string) map[string]any {
	t.Helper()
	answer := c.ok("/v1/chat/completions", user(strings.Repeat("a long prompt, ", 400), `,"max_tokens":1,"kv_transfer_params":{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,"remote_block_ids":null,"remote_host":null,"remote_port":null}`+more))
	p, _ := answer["kv_transfer_params"].(map[string]any)
	return p
}

func TestPrefillHandsOver(t *testing.T) {
	prefill, decode := pair(t)
	p := handedOver(t, prefill, "")
	if p["do_remote_prefill"] != true || p["do_remote_decode"] != false || p["remote_host"] != "127.0.0.1" ||
		len(p["remote_block_ids"].([]any)) != 95 || p["remote_num_tokens"] != float64(1507) || p["tp_size"] != float64(1) {
		t.Fatalf("%v", p)
	}
	if prefill.kvUsage() == 0 || prefill.did(stagePrefill) != 1 {
		t.Error("the blocks are not held")
	}
	q := parse(t, long)
	stale := maps.Clone(p)
	stale["remote_engine_id"] = "the one before"
	q["kv_transfer_params"] = stale
	if status, text := decode.do("/v1/chat/completions", encode(q)); status != 500 {
		t.Errorf("of a server that was restarted: %d %s", status, text)
	}
	q["kv_transfer_params"] = p
	body, err := json.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	answer := decode.ok("/v1/chat/completions", string(body))
	if n := num(t, answer, "usage", "prompt_tokens_details", "cached_tokens"); n != 1507 || num(t, answer, "usage", "completion_tokens") != 5 {
		t.Errorf("%v", answer["usage"])
	}
	if decode.did(stageDecode) != 1 || decode.metric("vllm:external_prefix_cache_hits_total") != 1507 {
		t.Error("the prompt was not fetched")
	}
	eventually(t, "the blocks are given back", func() bool { return prefill.kvUsage() == 0 })
	// The decode server has the prompt now.
	if n := num(t, decode.ok("/v1/chat/completions", long), "usage", "prompt_tokens_details", "cached_tokens"); n != 1504 {
		t.Errorf("%d tokens cached", n)
	}
	// The blocks are gone where they were.
	if status, text := decode.do("/v1/chat/completions", string(body)); status != 500 || !strings.Contains(text, "could not be fetched") {
		t.Errorf("%d %s", status, text)
	}
	if n := decode.metric("vllm:nixl_num_failed_transfers_total"); n != 2 {
		t.Errorf("%v failed transfers", n)
	}
}

func TestNothingIsHeldForNobody(t *testing.T) {
	prefill, _ := pair(t)
	for name, more := range map[string]string{"streamed": `,"stream":true`, "two answers": `,"n":2`} {
		if status, text := prefill.do("/v1/chat/completions", user("hello", `,"max_tokens":1,"kv_transfer_params":{"do_remote_decode":true}`+more)); status != 200 || strings.Contains(text, "remote_engine_id") {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if prefill.kvUsage() != 0 {
		t.Error("blocks are held")
	}
	_, decode := pair(t)
	if p := handedOver(t, decode, ""); p != nil {
		t.Errorf("a decode server holds %v", p)
	}
}

func TestHeldBlocksExpire(t *testing.T) {
	prefill, _ := pair(t, func(c *Config) { c.HoldTimeout = time.Millisecond })
	handedOver(t, prefill, "")
	eventually(t, "the blocks are given back", func() bool { return prefill.kvUsage() == 0 })
	eventually(t, "it is counted", func() bool { return prefill.metric("vllm:nixl_num_kv_expired_reqs_total") == 1 })
}

func TestSidecarHasThePromptComputed(t *testing.T) {
	prefill, decode := pair(t)
	for path, body := range map[string]string{
		"/v1/chat/completions": long,
		"/v1/completions":      fmt.Sprintf(`{"prompt":%q,"max_tokens":5,"stream":true,"stream_options":{"include_usage":true}}`, strings.Repeat("text ", 500)),
		"/v1/responses":        fmt.Sprintf(`{"input":%q,"max_output_tokens":5}`, strings.Repeat("input ", 500)),
	} {
		n := prefill.did(stagePrefill)
		status, text := decode.staged(path, body, "x-prefiller-host-port", prefill.host())
		if status != 200 || !strings.Contains(text, `"cached_tokens":0`) || prefill.did(stagePrefill) != n+1 {
			t.Errorf("%s: %d %s", path, status, text)
		}
		// The second time the other server has it cached, and says so.
		if _, text := decode.staged(path, body, "x-prefiller-host-port", prefill.host()); strings.Contains(text, `"cached_tokens":0`) {
			t.Errorf("%s: %s", path, text)
		}
	}
	if decode.did(stageDecode) != 6 || decode.did(stageWhole) != 0 {
		t.Errorf("%d answers of prompts computed elsewhere", decode.did(stageDecode))
	}
	if status, _ := decode.staged("/v1/chat/completions", long); status != 200 || decode.did(stageWhole) != 1 {
		t.Errorf("without a header: %d", status)
	}
	eventually(t, "all blocks are given back", func() bool { return prefill.kvUsage() == 0 })
}

func TestSidecarReturnsAFailedPrefill(t *testing.T) {
	prefill, decode := pair(t)
	if err := prefill.s.SetFailures(Failures{ErrorRate: 1}); err != nil {
		t.Fatal(err)
	}
	if status, text := decode.staged("/v1/chat/completions", long, "x-prefiller-host-port", prefill.host()); status != 500 || !strings.Contains(text, "told to fail") {
		t.Errorf("%d %s", status, text)
	}
	for _, host := range []string{"127.0.0.1:1", "nonsense", ":80", "a/b:80", strings.Repeat("a", 300) + ":80", "127.0.0.1:1/x@y:2"} {
		status, text := decode.staged("/v1/chat/completions", long, "x-prefiller-host-port", host)
		if status != 502 || strings.Contains(text, "127.0.0.1") {
			t.Errorf("%.20s: %d %s", host, status, text)
		}
	}
	if decode.did(stageDecode)+decode.did(stageWhole) != 0 {
		t.Error("the decode server went on by itself")
	}
	for _, body := range []string{"", "[]", "null", `{"messages":`} {
		if status, _ := decode.staged("/v1/chat/completions", body, "x-prefiller-host-port", prefill.host()); status != 400 {
			t.Errorf("%q: %d", body, status)
		}
	}
}

func TestADecodeServerWithoutSidecarIgnoresTheHeaders(t *testing.T) {
	prefill, _ := pair(t)
	plain := newClient(t, fast())
	if status, _ := plain.staged("/v1/chat/completions", long, "x-prefiller-host-port", prefill.host()); status != 200 || prefill.did(stagePrefill) != 0 {
		t.Errorf("%d", status)
	}
}

func TestForeignTransferParams(t *testing.T) {
	_, decode := pair(t)
	for params, want := range map[string]int{
		`null`: 200, `{}`: 200, `{"do_remote_prefill":true}`: 200,
		`{"do_remote_prefill":true,"remote_engine_id":"e","remote_request_id":"r","remote_host":"127.0.0.1","remote_port":0,"remote_block_ids":[1]}`:        200,
		`{"do_remote_prefill":true,"remote_engine_id":"e","remote_request_id":"r","remote_host":"127.0.0.1","remote_port":1,"remote_block_ids":[1]}`:        500,
		`{"do_remote_prefill":true,"remote_engine_id":"e","remote_request_id":"../x","remote_host":"127.0.0.1","remote_port":"1","remote_block_ids":[[1]]}`: 500,
		`{"do_remote_prefill":true,"remote_engine_id":"e","remote_request_id":"r","remote_host":"a/b?c","remote_port":1,"remote_block_ids":[1]}`:            500,
		`{"do_remote_prefill":"yes"}`: 400, `[]`: 400,
	} {
		if status, text := decode.do("/v1/chat/completions", user("hello", `,"max_tokens":1,"kv_transfer_params":`+params)); status != want {
			t.Errorf("%s: %d %s, want %d", params, status, text, want)
		}
	}
}

const picture = `{"type":"image_url","image_url":{"url":"http://images/%s.png"}}`

func pictures(more string, names ...string) string {
	parts := []string{`{"type":"text","text":"What is this?"}`}
	for _, n := range names {
		parts = append(parts, fmt.Sprintf(picture, n))
	}
	return `{"messages":[{"role":"user","content":[` + strings.Join(parts, ",") + `]}],"max_tokens":3` + more + `}`
}

func TestImagesAreEncodedElsewhere(t *testing.T) {
	c := fast()
	c.Name, c.Role = "encode", RoleEncode
	encode, other := newClient(t, c), newClient(t, c)
	prefill, decode := pair(t)
	status, text := decode.staged("/v1/chat/completions", pictures("", "a", "b", "a"),
		"x-encoder-hosts-ports", encode.host()+", "+other.host(), "x-prefiller-host-port", prefill.host())
	if status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	if encode.did(stageEncode) != 1 || other.did(stageEncode) != 1 || prefill.did(stagePrefill) != 1 || decode.did(stageDecode) != 1 {
		t.Errorf("encoded %d and %d, computed %d, answered %d", encode.did(stageEncode), other.did(stageEncode), prefill.did(stagePrefill), decode.did(stageDecode))
	}
	answer := encode.ok("/v1/chat/completions", pictures("", "a"))
	if ec := at(t, answer, "ec_transfer_params").(map[string]any); len(ec) != 1 {
		t.Errorf("%v", ec)
	}
	encode.s.Close()
	if err := other.s.SetFailures(Failures{ErrorRate: 1}); err != nil {
		t.Fatal(err)
	}
	if status, text := decode.staged("/v1/chat/completions", pictures("", "c"), "x-encoder-hosts-ports", other.host()); status != 502 || !strings.Contains(text, "encode") {
		t.Errorf("%d %s", status, text)
	}
}

// TestEncodedImagesAreNotEncodedAgain counts, in the engine's time, that an image is
// encoded once, and not at all where its hash came from elsewhere.
func TestEncodedImagesAreNotEncodedAgain(t *testing.T) {
	c := encoderCache{byHash: newClient(t, fast()).s.encoder.byHash}
	a, b := media{hash: "a"}, media{hash: "b"}
	if n := c.missing([]media{a, b, a}, nil); n != 2 {
		t.Errorf("%d to encode, want 2", n)
	}
	if n := c.missing([]media{b, {hash: "c"}}, map[string]json.RawMessage{"c": nil}); n != 0 {
		t.Errorf("%d to encode, want 0", n)
	}
	for i := range 2 * maxEncoded {
		c.missing([]media{{hash: fmt.Sprint(i)}}, nil)
	}
	if len(c.byHash) != maxEncoded || c.order.Len() != maxEncoded {
		t.Errorf("%d remembered", len(c.byHash))
	}
}

func TestTooManyImages(t *testing.T) {
	c := newClient(t, fast())
	if status, _ := c.do("/v1/chat/completions", pictures("", make([]string, maxMedia+1)...)); status != 400 {
		t.Errorf("%d", status)
	}
}

func TestDifferentImagesShareNoBlocks(t *testing.T) {
	c := newClient(t, fast())
	c.ok("/v1/chat/completions", pictures("", "a"))
	if n := num(t, c.ok("/v1/chat/completions", pictures("", "b")), "usage", "prompt_tokens_details", "cached_tokens"); n != 0 {
		t.Errorf("%d tokens of another image are cached", n)
	}
	// The order of fields does not make another image.
	same := strings.Replace(pictures("", "a"), `{"type":"image_url","image_url":{"url":"http://images/a.png"}}`, `{"image_url": {"url": "http://images/a.png"}, "type": "image_url"}`, 1)
	if n := num(t, c.ok("/v1/chat/completions", same), "usage", "prompt_tokens_details", "cached_tokens"); n != 256 {
		t.Errorf("%d tokens of the same image are cached", n)
	}
}

func TestDataParallelRanks(t *testing.T) {
	var ranks []*Server
	var clients []*client
	for i := range 2 {
		c := fast()
		c.Name, c.Rank, c.Sidecar = fmt.Sprint("rank-", i), i, true
		c.Engine = engine.Config{}
		clients = append(clients, newClient(t, c))
		ranks = append(ranks, clients[i].s)
	}
	DataParallel(8000, ranks)
	for _, tc := range []struct {
		header, value, by string
		status            int
	}{
		{"x-data-parallel-host-port", "10.0.0.1:8001", "rank-1", 200}, {"x-data-parallel-host-port", "10.0.0.1:8000", "rank-0", 200},
		{"x-data-parallel-host-port", "10.0.0.1:8002", "", 400}, {"x-data-parallel-host-port", "10.0.0.1:7999", "", 400},
		{"x-data-parallel-host-port", "x", "", 400}, {"x-data-parallel-rank", "1", "rank-1", 200}, {"x-data-parallel-rank", "-1", "", 400},
		{"x-data-parallel-rank", "99999999999", "", 400}, {"x-other", "1", "rank-0", 200},
	} {
		status, text := clients[0].staged("/v1/chat/completions", user("hello", ""), tc.header, tc.value)
		if status != tc.status || !strings.Contains(text, tc.by) {
			t.Errorf("%s: %s: %d %s", tc.header, tc.value, status, text)
		}
	}
	if _, text := clients[1].do("/metrics", ""); !strings.Contains(text, `vllm:num_requests_running{engine="1"`) {
		t.Error("the metrics do not name the rank")
	}
}

func TestPDConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"role": {Role: "x"}, "hold": {HoldTimeout: -1}, "rank": {Rank: -1}, "rank too high": {Rank: MaxRanks},
		"transfer": {Engine: engine.Config{TransferPerToken: -1}}, "CPU blocks": {Engine: engine.Config{CPUBlocks: -1}},
		"groups": {KVEvents: KVEvents{Endpoint: "tcp://*:0", Format: KVSGLang, Groups: []string{"full_attention"}}},
		"group":  {KVEvents: KVEvents{Endpoint: "tcp://*:0", Groups: []string{""}}},
	} {
		if s, err := New(c); err == nil {
			s.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzSidecar(f *testing.F) {
	f.Add("127.0.0.1:1", `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"u"}}]}],"max_tokens":1}`)
	f.Add("a,b,:,", `{"prompt":"x","kv_transfer_params":{"do_remote_prefill":true,"remote_engine_id":"e","remote_request_id":"r","remote_host":"h","remote_port":"x","remote_block_ids":[1]}}`)
	f.Fuzz(func(t *testing.T, hostList, body string) {
		h := http.Header{headerPrefiller: {hostList}}
		for _, host := range hosts(h, headerPrefiller) {
			if host == "" || strings.Contains(host, ",") {
				t.Fatalf("%q", host)
			}
		}
		var q completionRequest
		if json.Unmarshal([]byte(body), &q) == nil && q.KV != nil {
			if _, ok := q.KV.peer(); ok && (q.KV.RequestID == "" || len(q.KV.Host) > maxNameBytes) {
				t.Fatalf("%+v", q.KV)
			}
		}
		var fields map[string]json.RawMessage
		if json.Unmarshal([]byte(body), &fields) != nil || fields == nil {
			return
		}
		items, err := mediaParts(fields["messages"])
		if err == nil && len(items) > maxMedia {
			t.Fatal(len(items))
		}
		sent := raw(oneToken(fields, outputLimits("/v1/chat/completions")))
		var one map[string]any
		if err := json.Unmarshal(sent, &one); err != nil || one["max_tokens"] != 1.0 || one["stream"] != false {
			t.Fatalf("%v %s", err, sent)
		}
	})
}
