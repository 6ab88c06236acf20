package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/pool/kvevents/index"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// preciseFile is a file with a precise producer that has these parameters, in flow style.
func preciseFile(params string) string {
	return "plugins:\n- type: precise-prefix-cache-producer\n  parameters: " + params + "\n"
}

func defaultKVCache() *KVCache {
	return &KVCache{
		BlockTokens: 16, TopicFilter: "kv@", SocketPort: 5557, Workers: 4,
		SpeculativeTTL: Duration{2 * time.Second}, TierWeights: map[string]float32{"gpu": 1, "cpu": 0.8},
	}
}

func TestKVCache(t *testing.T) {
	for _, tc := range []struct {
		name, params string
		change       func(*KVCache)
	}{
		{"defaults", "{}", func(*KVCache) {}},
		{"null", "{tokenProcessorConfig: null, indexerConfig: null, kvEventsConfig: null}", func(*KVCache) {}},
		{"blocks", "{tokenProcessorConfig: {blockSizeTokens: 64}}", func(c *KVCache) { c.BlockTokens = 64 }},
		{"the deprecated size", "{tokenProcessorConfig: {blockSize: 32}}", func(c *KVCache) { c.BlockTokens = 32 }},
		{"both sizes", "{tokenProcessorConfig: {blockSize: 32, blockSizeTokens: 8}}", func(c *KVCache) { c.BlockTokens = 8 }},
		{"the earlier place", "{indexerConfig: {tokenProcessorConfig: {blockSize: 32, hashSeed: a}, prefixStoreConfig: {}}}", func(c *KVCache) { c.BlockTokens = 32 }},
		{"both places", "{tokenProcessorConfig: {blockSizeTokens: 8}, indexerConfig: {tokenProcessorConfig: {blockSize: 32}}}", func(c *KVCache) { c.BlockTokens = 8 }},
		{"a size of 0", "{tokenProcessorConfig: {blockSizeTokens: 0}}", func(*KVCache) {}},
		{"zmqEndpoint", "{kvEventsConfig: {zmqEndpoint: 'tcp://*:5600'}}", func(c *KVCache) { c.Bind = "tcp://*:5600" }},
		{"ports", "{kvEventsConfig: {podDiscoveryConfig: {socketPort: 5556, replaySocketPort: 5559}}}", func(c *KVCache) { c.SocketPort, c.ReplayPort = 5556, 5559 }},
		{"no replay", "{kvEventsConfig: {podDiscoveryConfig: {replaySocketPort: -1}}}", func(*KVCache) {}},
		{"topics and workers", "{kvEventsConfig: {topicFilter: '', concurrency: 9, engineType: sglang}}", func(c *KVCache) { c.TopicFilter, c.Workers = "", 9 }},
		{"speculative", "{speculativeIndexing: true}", func(c *KVCache) { c.Speculative = true }},
		{"speculative for", "{speculativeIndexing: true, speculativeTTL: 500ms}", func(c *KVCache) { c.Speculative, c.SpeculativeTTL = true, Duration{500 * time.Millisecond} }},
		{"speculative for 0", "{speculativeIndexing: true, speculativeTTL: 0s}", func(c *KVCache) { c.Speculative = true }},
		{"tiers", "{indexerConfig: {kvCacheBackendConfigs: [{name: GPU, weight: 1}, {name: disk, weight: 0.25}]}}", func(c *KVCache) { c.TierWeights = map[string]float32{"gpu": 1, "disk": 0.25} }},
		{"no tiers", "{indexerConfig: {kvCacheBackendConfigs: []}}", func(c *KVCache) { c.TierWeights = map[string]float32{} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, _ := load(t, preciseFile(tc.params))
			want := defaultKVCache()
			tc.change(want)
			if diff := cmp.Diff(want, c.KVCache); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			// What is accepted here, the parts that use it accept.
			if _, err := index.New(index.Options{Prefix: prefix.New(prefix.Options{Shards: 1}), BlockTokens: c.KVCache.BlockTokens, TierWeights: c.KVCache.TierWeights}); err != nil {
				t.Error(err)
			}
			if bind := c.KVCache.Bind; bind != "" {
				if _, err := kvevents.ParseAddress(bind); err != nil {
					t.Error(err)
				}
			}
			if want := (Tokens{Render: true, Timeout: Duration{5 * time.Second}, ImagesTimeout: Duration{30 * time.Second}}); c.Tokens != want {
				t.Errorf("tokens %+v, want those of the pool's endpoints", c.Tokens)
			}
		})
	}
}

// TestPreciseScorer: the scorer of earlier versions means the same as the two plugins
// that it became.
func TestPreciseScorer(t *testing.T) {
	const params = "{tokenProcessorConfig: {blockSizeTokens: 64}, speculativeIndexing: true}"
	two, _ := load(t, "plugins: [{type: precise-prefix-cache-producer, parameters: "+params+"}, {type: prefix-cache-scorer, name: s, parameters: {prefixMatchInfoProducerName: precise-prefix-cache-producer}}]")
	one, _ := load(t, "plugins: [{type: precise-prefix-cache-scorer, name: s, parameters: "+params+"}]")
	if got, want := columns(t, one.Policy), columns(t, two.Policy); got != want || got != "s*1" {
		t.Errorf("policy %q, want %q", got, want)
	}
	if diff := cmp.Diff(two.KVCache, one.KVCache); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// Two profiles may have one each, as long as they want the same.
	load(t, "plugins: [{type: precise-prefix-cache-scorer, name: a}, {type: precise-prefix-cache-scorer, name: b}]")
	// It publishes matches under its name, and follows endpoints.
	load(t, "plugins: [{type: precise-prefix-cache-scorer, name: a}, {type: no-hit-lru-scorer, parameters: {prefixMatchInfoProducerName: a}}, {type: endpoint-notification-source}]\ndataLayer: {sources: [{pluginRef: endpoint-notification-source, extractors: [{pluginRef: a}]}]}")
}

func TestTokens(t *testing.T) {
	render := func(url, model string, timeout, images time.Duration) Tokens {
		return Tokens{Render: true, URL: url, Model: model, Timeout: Duration{timeout}, ImagesTimeout: Duration{images}}
	}
	const local, s = "http://localhost:8000", time.Second
	for _, tc := range []struct {
		params string
		want   Tokens
	}{
		{"{}", Tokens{}},
		{"{estimate: {}}", Tokens{}},
		{"{estimate: {image: {mode: static}}}", Tokens{}},
		{"{estimate: {}, modelName: m}", Tokens{}},
		{"{vllm: null, udsTokenizerConfig: null}", Tokens{}},
		{"{udsTokenizerConfig: {socketFile: /s}, modelName: m}", render("", "", 5*s, 30*s)},
		{"{udsTokenizerConfig: {socketFile: /s}, vllm: {}}", render(local, "", 5*s, 30*s)},
		{"{modelName: m}", render(local, "m", 5*s, 30*s)},
		{"{modelName: m, backend: vllm}", render(local, "m", 5*s, 30*s)},
		{"{modelName: m, backend: estimate}", Tokens{}},
		{"{vllm: {}}", render(local, "", 5*s, 30*s)},
		{"{vllm: {url: 'https://render.example:8443/', timeout: 2s, mmTimeout: 1m, messagesRenderMode: auto}, modelName: m}", render("https://render.example:8443/", "m", 2*s, 60*s)},
		{"{vllm: {endpointDiscovery: {}, insecureSkipVerify: false}}", render("", "", 5*s, 30*s)},
		{"{vllm: {endpointDiscovery: {loadBalancer: {type: round-robin}}}}", render("", "", 5*s, 30*s)},
	} {
		for _, typ := range []string{"token-producer", "tokenizer"} {
			c, _ := load(t, "plugins: [{type: "+typ+", parameters: "+tc.params+"}]")
			if c.Tokens != tc.want {
				t.Errorf("%s %s: %+v, want %+v", typ, tc.params, c.Tokens, tc.want)
			}
			if c.KVCache != nil {
				t.Errorf("%s: KV cache %+v", typ, c.KVCache)
			}
		}
	}
}

func TestPreciseWarnings(t *testing.T) {
	for _, tc := range []struct{ params, want string }{
		{"{tokenProcessorConfig: {blockSize: 64}}", "line 3: plugins[0].parameters.tokenProcessorConfig.blockSize: is deprecated: write blockSizeTokens"},
		{"{tokenProcessorConfig: {hashSeed: '42'}}", "tokenProcessorConfig.hashSeed: has no effect: blocks are compared by their tokens"},
		{"{tokenProcessorConfig: {hashAlgorithm: xxh64}}", "tokenProcessorConfig.hashAlgorithm: has no effect"},
		{"{indexerConfig: {kvBlockIndexConfig: {inMemoryConfig: {size: 5}}}}", "inMemoryConfig.size: has no effect"},
		{"{indexerConfig: {kvBlockIndexConfig: {inMemoryConfig: {podCacheSize: 5}}}}", "inMemoryConfig.podCacheSize: has no effect"},
		{"{indexerConfig: {kvBlockIndexConfig: {costAwareMemoryConfig: {size: 2GiB}}}}", "costAwareMemoryConfig: has no effect"},
		{"{indexerConfig: {tokenProcessorConfig: {blockSize: 16}}}", "indexerConfig.tokenProcessorConfig: is an earlier place of tokenProcessorConfig"},
		{"{indexerConfig: {prefixStoreConfig: {blockSize: 16}}}", "prefixStoreConfig: has no effect"},
		{"{indexerConfig: {kvBlockIndexConfig: {maxPrefixTokensToMatch: 1280}}}", "maxPrefixTokensToMatch: has no effect"},
		{"{indexerConfig: {kvBlockIndexConfig: {metricsLoggingInterval: 1000000000}}}", "metricsLoggingInterval: has no effect"},
		{"{indexerConfig: {kvBlockIndexConfig: {enableMetrics: false}}}", "enableMetrics: has no effect: the index's metrics are always served"},
		{"{kvEventsConfig: {podDiscoveryConfig: {podLabelSelector: app=vllm}}}", "podLabelSelector: has no effect: the pool says which endpoints there are"},
		{"{kvEventsConfig: {podDiscoveryConfig: {podNamespace: ns}}}", "podNamespace: has no effect"},
		{"{kvEventsConfig: {discoverPods: true, zmqEndpoint: 'tcp://*:5557'}}", "kvEventsConfig.discoverPods: has no effect: with zmqEndpoint engines connect to it"},
		{"{kvEventsConfig: {zmqEndpoint: 'tcp://*:5557', podDiscoveryConfig: {socketPort: 1}}}", "socketPort: has no effect: with zmqEndpoint"},
		{"{speculativeTTL: 5s}", "speculativeTTL: has no effect: speculativeIndexing is false"},
		{"{indexerConfig: {kvBlockIndexConfig: {enableMetrics: true}}, kvEventsConfig: {discoverPods: false, zmqEndpoint: 'tcp://*:5557', podDiscoveryConfig: {podLabelSelector: 'llm-d.ai/inference-serving=true', podNamespace: ''}}}", ""},
	} {
		_, warnings := load(t, preciseFile(tc.params))
		if tc.want == "" && len(warnings) > 0 || tc.want != "" && (len(warnings) != 1 || !strings.Contains(warnings[0].String(), tc.want)) {
			t.Errorf("%s\nwarnings %v, want %q", tc.params, warnings, tc.want)
		}
	}
	for _, tc := range []struct{ text, want string }{
		{"plugins: [{type: precise-prefix-cache-producer}, {type: prefix-cache-scorer}]", `prefixMatchInfoProducerName: is missing, and "precise-prefix-cache-producer" follows engines' events`},
		{"plugins: [{type: precise-prefix-cache-producer}, {type: prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: approx-prefix-cache-producer}}]", "matches are merged per endpoint"},
		{"plugins: [{type: precise-prefix-cache-producer}, {type: approx-prefix-cache-producer, name: a}, {type: no-hit-lru-scorer, parameters: {prefixMatchInfoProducerName: a}}]", `names "a", and "precise-prefix-cache-producer" follows`},
		{"plugins: [{type: precise-prefix-cache-producer}, {type: approx-prefix-cache-producer, name: a}, {type: inflight-load-producer, parameters: {prefixMatchInfoProducerName: a}}]", "exact where an engine's events are followed"},
		{"plugins: [{type: token-producer, parameters: {estimate: {image: {mode: static}}}}]", "parameters.estimate: has no effect: each image"},
		{"plugins: [{type: token-producer, parameters: {estimate: {}, modelName: m}}]", "modelName: has no effect"},
		{"plugins: [{type: token-producer, parameters: {backend: vllm, modelName: m}}, {type: precise-prefix-cache-producer}]", "parameters.backend: is deprecated"},
		{"plugins: [{type: token-producer, parameters: {modelName: m}}]", "line 1: plugins[0].parameters.modelName: has no effect: nothing reads token ids"},
		{"plugins:\n- type: token-producer\n  parameters:\n    vllm: {url: 'http://h:1'}", "line 4: plugins[0].parameters.vllm: has no effect: nothing reads token ids, so no engine is asked for them; declare a precise-prefix-cache-producer, follow engines with --kv-events, or remove it"},
		{"plugins: [{type: mm-embeddings-cache-producer}]", "plugins[0]: has no effect: no mm-embeddings-cache-scorer reads it"},
		{"plugins: [{type: token-producer, parameters: {vllm: {messagesRenderMode: native}}}, {type: precise-prefix-cache-producer}]", "messagesRenderMode: has no effect"},
	} {
		_, warnings := load(t, tc.text)
		if len(warnings) != 1 || !strings.Contains(warnings[0].String(), tc.want) {
			t.Errorf("%s\nwarnings %v, want %q", tc.text, warnings, tc.want)
		}
	}
}

// TestTokensOfUseToEvents: with events followed by other means, token ids are read.
func TestTokensOfUseToEvents(t *testing.T) {
	_, warnings, err := Options{KVEvents: true}.Load([]byte("plugins: [{type: token-producer, parameters: {modelName: m}}]"))
	if err != nil || len(warnings) > 0 {
		t.Error(warnings, err)
	}
}

func TestPreciseErrors(t *testing.T) {
	producer := func(params string) string { return "plugins: [{type: token-producer, parameters: " + params + "}]" }
	for _, tc := range []struct{ text, want string }{
		{preciseFile("{tokenProcessorConfig: {blockSizeToken: 1}}"), `line 3: plugins[0].parameters.tokenProcessorConfig.blockSizeToken: unknown field; did you mean "blockSizeTokens"?`},
		{preciseFile("{tokenProcessorConfig: {blockSizeTokens: 5000}}"), "line 3: plugins[0].parameters: tokenProcessorConfig.blockSizeTokens is 5000: must be 1 to 4096"},
		{preciseFile("{tokenProcessorConfig: {blockSize: -1}}"), "blockSizeTokens is -1"},
		{preciseFile("{tokenProcessorConfig: {hashAlgorithm: md5}}"), `hashAlgorithm is "md5": must be cbor-fnv or xxh64`},
		{preciseFile("{indexerConfig: {kvBlockIndexConfig: {redisConfig: {address: 'redis://:secret@r'}}}}"), "indexerConfig.kvBlockIndexConfig.redisConfig: is not available in Fairway: the index is in memory"},
		{preciseFile("{indexerConfig: {kvBlockIndexConfig: {valkeyConfig: {}}}}"), "valkeyConfig: is not available in Fairway"},
		{preciseFile("{indexerConfig: {tokenizersPoolConfig: {modelName: m}}}"), "tokenizersPoolConfig: is not supported: declare a token-producer"},
		{preciseFile("{indexerConfig: {kvCacheBackendConfigs: [{weight: 1}]}}"), "kvCacheBackendConfigs[0].name is missing"},
		{preciseFile("{indexerConfig: {kvCacheBackendConfigs: [{name: cpu, weight: 2}]}}"), "kvCacheBackendConfigs[0].weight is 2: must be 0 to 1"},
		{preciseFile("{indexerConfig: {kvCacheBackendConfigs: [{name: cpu, weight: 1}, {name: CPU, weight: 1}]}}"), `kvCacheBackendConfigs[1].name: "CPU" is there twice`},
		{preciseFile("{indexerConfig: {kvCacheBackendConfigs: [{name: a, weight: 0}, {name: b, weight: 0}, {name: c, weight: 0}, {name: d, weight: 0}]}}"), "has 4 weights below 1: at most 3"},
		{preciseFile("{kvEventsConfig: {concurrency: 0}}"), "kvEventsConfig.concurrency is 0: must be 1 to 256"},
		{preciseFile("{kvEventsConfig: {engineType: trt}}"), `engineType is "trt": must be vllm or sglang`},
		{preciseFile("{kvEventsConfig: {podDiscoveryConfig: {socketPort: 0}}}"), "socketPort is 0: must be 1 to 65535"},
		{preciseFile("{kvEventsConfig: {podDiscoveryConfig: {replaySocketPort: 70000}}}"), "replaySocketPort is 70000"},
		{preciseFile("{kvEventsConfig: {discoverPods: false}}"), "discoverPods is false and zmqEndpoint is empty"},
		{preciseFile("{kvEventsConfig: {zmqEndpoint: 'ipc:///tmp/x'}}"), `zmqEndpoint is "ipc:///tmp/x": must be tcp://HOST:PORT`},
		{preciseFile("{speculativeTTL: -1s}"), "speculativeTTL is -1s"},
		{preciseFile("{speculativeTTL: 2h}"), "at most 1h0m0s"},
		{preciseFile("{}") + "- {type: precise-prefix-cache-producer, name: b, parameters: {speculativeIndexing: true}}", "line 4: plugins[1]: there is an index of KV cache events already, with other parameters"},
		{preciseFile("{}") + "- {type: token-producer}", `plugins[1].parameters: estimates tokens, and "precise-prefix-cache-producer" needs their ids: write vllm`},
		{preciseFile("{}") + "- {type: tokenizer, parameters: {estimate: {}}}", "estimates tokens"},
		{preciseFile("{}") + "- {type: prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: precise-prefix-cache}}", `no producer of prefix matches is named "precise-prefix-cache"; must be one of approx-prefix-cache-producer, precise-prefix-cache-producer`},
		{preciseFile("{}") + "- {type: queue-scorer}\n- {type: no-hit-lru-scorer, parameters: {prefixMatchInfoProducerName: queue-scorer}}", `"queue-scorer" is a queue-scorer: must name an approx-prefix-cache-producer or a precise-prefix-cache-producer`},
		{"plugins: [{type: prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: precise-prefix-cache-producer}}]", `no producer of prefix matches is named "precise-prefix-cache-producer"`},

		{producer("{vllm: {url: http://user:hunter2@x}}"), "vllm.url must not have a user"},
		{producer("{vllm: {url: 'localhost:8000'}}"), "vllm.url must be http://HOST:PORT"},
		{producer("{vllm: {url: http://x/v1}}"), "vllm.url must be without a path"},
		{producer("{vllm: {url: http://x, endpointDiscovery: {}}}"), "set one of them"},
		{producer("{vllm: {endpointDiscovery: {loadBalancer: {type: random}}}}"), `loadBalancer.type is "random": must be round-robin`},
		{producer("{vllm: {endpointDiscovery: {portRules: []}}}"), "vllm.endpointDiscovery.portRules: is not available in Fairway"},
		{producer("{vllm: {timeout: -1s}}"), "vllm.timeout is -1s"},
		{producer("{vllm: {mmTimeout: 1h}}"), "vllm.mmTimeout is 1h0m0s"},
		{producer("{vllm: {messagesRenderMode: off1}}"), `messagesRenderMode is "off1"`},
		{producer("{vllm: {caCertPath: /ca}}"), "vllm.caCertPath: is not available in Fairway"},
		{producer("{vllm: {insecureSkipVerify: true}}"), "vllm.insecureSkipVerify: is not available"},
		{producer("{backend: uds}"), `backend is "uds": must be vllm or estimate`},
		{producer("{backend: estimate, vllm: {}}"), "backend: is estimate, which excludes vllm"},
		{preciseFile("{indexerConfig: {tokenProcessorConfig: {blockSize: -5}}}"), "blockSizeTokens is -5"},
		{"plugins: [{type: mm-embeddings-cache-producer, parameters: {cacheSizeInMBPerServer: -1}}]", "cacheSizeInMBPerServer is -1"},
		{"plugins: [{type: mm-embeddings-cache-scorer, parameters: {producerName: x}}]", `parameters.producerName: no entry of plugins is named "x"`},
		{"plugins: [{type: token-producer}, {type: mm-embeddings-cache-scorer, parameters: {producerName: token-producer}}]", `"token-producer" is a token-producer: must name an mm-embeddings-cache-producer`},
		{producer("{vllm: {}, estimate: {}}"), "estimate: excludes vllm"},
		{"plugins: [{type: token-producer}, {type: tokenizer, parameters: {modelName: m}}]", `there is a token-producer already, "token-producer"`},
	} {
		_, _, err := Load([]byte(tc.text))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s\nerror %v, want %q", tc.text, err, tc.want)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s\nthe error tells a password: %v", tc.text, err)
		}
	}
}

// TestExplainPrecise: the sections are shown with every default and its origin, and
// no secrets.
func TestExplainPrecise(t *testing.T) {
	out, _, err := Options{}.Explain([]byte(`plugins:
- type: precise-prefix-cache-scorer
  parameters:
    tokenProcessorConfig: {blockSize: 64}
    indexerConfig:
      tokenizersPoolConfig: {hf: {enabled: true, huggingFaceToken: hf_hunter2}}
    kvEventsConfig:
      zmqEndpoint: tcp://*:5557
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"tokenProcessorConfig:\n        blockSize: 64 # line 4\n      indexerConfig:\n",
		"- name: gpu # default\n            weight: 1 # default\n          - name: cpu # default\n            weight: 0.8 # default\n",
		"huggingFaceToken: (not shown) # line 6\n",
		"zmqEndpoint: tcp://*:5557 # line 8\n        topicFilter: kv@ # default\n        concurrency: 4 # default\n        engineType: vllm # default\n        discoverPods: false # default\n        podDiscoveryConfig:\n          socketPort: 5557 # default\n          replaySocketPort: 0 # default\n      speculativeIndexing: false # default\n      speculativeTTL: 2s # default\n",
		"- name: token-producer # default\n    type: token-producer # default\n    parameters:\n      vllm:\n        endpointDiscovery:\n          loadBalancer:\n            type: round-robin # default\n        timeout: 5s # default\n        mmTimeout: 30s # default\n",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("lacks %q\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "hunter2") {
		t.Errorf("shows a token:\n%s", out)
	}
	out, _, err = Options{}.Explain([]byte("plugins: [{type: token-producer, parameters: {modelName: m}}]"))
	if err != nil || !strings.Contains(string(out), "vllm:\n        url: http://localhost:8000 # default\n        timeout: 5s # default\n") {
		t.Errorf("%v\n%s", err, out)
	}
}
