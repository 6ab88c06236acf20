package config

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/pool/kvevents"
)

// tokenizersPool are where the scorer of earlier versions got its tokenizers.
type tokenizersPool struct {
	ModelName             string          `json:"modelName"`
	WorkersCount          *int            `json:"workersCount"`
	MinPrefixOverlapRatio *float64        `json:"minPrefixOverlapRatio"`
	Local                 *localTokenizer `json:"local"`
	HF                    *hfTokenizer    `json:"hf"`
	UDS                   *udsTokenizer   `json:"uds"`
	HuggingFaceToken      secret          `json:"huggingFaceToken"`
	TokenizersCacheDir    string          `json:"tokenizersCacheDir"`
}

type localTokenizer struct {
	Enabled                       *bool             `json:"enabled"`
	AutoDiscoveryDir              string            `json:"autoDiscoveryDir"`
	AutoDiscoveryTokenizerFile    string            `json:"autoDiscoveryTokenizerFileName"`
	ModelTokenizerMap             map[string]string `json:"modelTokenizerMap"`
	TokenizersCacheDir            string            `json:"tokenizersCacheDir"`
	AutoDiscoveryTokenizerFileOld string            `json:"autoDiscoveryTokenizerFile"`
}

type hfTokenizer struct {
	Enabled            *bool  `json:"enabled"`
	HuggingFaceToken   secret `json:"huggingFaceToken"`
	TokenizersCacheDir string `json:"tokenizersCacheDir"`
}

type udsTokenizer struct {
	SocketFile         string `json:"socketFile"`
	HuggingFaceToken   secret `json:"huggingFaceToken"`
	TokenizersCacheDir string `json:"tokenizersCacheDir"`
	UseTCP             *bool  `json:"useTCP"`
}

// secret is text that is never shown.
type secret string

// preciseWarnings says what has no effect, and refuses what is not there.
func (d *decoder) preciseWarnings(p *plugin, params *yaml.Node, q precise) {
	for _, f := range [...]struct{ field, says string }{
		{"tokenProcessorConfig.blockSize", "is deprecated: write blockSizeTokens"},
		{"tokenProcessorConfig.hashSeed", "has no effect: blocks are compared by their tokens, whatever hashes engines use; remove it"},
		{"tokenProcessorConfig.hashAlgorithm", "has no effect: blocks are compared by their tokens, whatever hashes engines use; remove it"},
		{"indexerConfig.tokenProcessorConfig", "is an earlier place of tokenProcessorConfig: write it in the plugin's parameters"},
		{"indexerConfig.prefixStoreConfig", "has no effect: prompts' tokens are cached by their text; remove it"},
		{"indexerConfig.kvBlockIndexConfig.maxPrefixTokensToMatch", "has no effect: prompts are compared to their end; remove it"},
		{"indexerConfig.kvBlockIndexConfig.inMemoryConfig.size", "has no effect: the index holds what the endpoints' caches hold; remove it"},
		{"indexerConfig.kvBlockIndexConfig.inMemoryConfig.podCacheSize", "has no effect: a block is known of every endpoint that holds it; remove it"},
		{"indexerConfig.kvBlockIndexConfig.costAwareMemoryConfig", "has no effect: the index holds what the endpoints' caches hold; remove it"},
		{"indexerConfig.kvBlockIndexConfig.metricsLoggingInterval", "has no effect: the index's metrics are served and not logged; remove it"},
	} {
		if n := present(params, f.field); n != nil {
			d.warn(n, p.path+".parameters."+f.field, "%s", f.says)
		}
	}
	for _, backend := range []string{"redisConfig", "valkeyConfig"} {
		field := "indexerConfig.kvBlockIndexConfig." + backend
		if n := present(params, field); n != nil {
			d.fail(n, p.path+".parameters."+field, "is not available in Fairway: the index is in memory, and each replica follows all endpoints by itself; remove it")
		}
	}
	if b := q.IndexerConfig.KVBlockIndexConfig; b != nil && b.EnableMetrics != nil && !*b.EnableMetrics {
		d.warnAt(p, params, "indexerConfig.kvBlockIndexConfig.enableMetrics", "has no effect: the index's metrics are always served; remove it")
	}
	discovery := q.KVEventsConfig.PodDiscoveryConfig
	if s := discovery.PodLabelSelector; s != nil && *s != "" && *s != defaultPodSelector {
		d.warnAt(p, params, "kvEventsConfig.podDiscoveryConfig.podLabelSelector", "has no effect: the pool says which endpoints there are, and the events of all are followed; remove it")
	}
	if s := discovery.PodNamespace; s != nil && *s != "" {
		d.warnAt(p, params, "kvEventsConfig.podDiscoveryConfig.podNamespace", "has no effect: the pool says which endpoints there are, and the events of all are followed; remove it")
	}
	if q.KVEventsConfig.ZMQEndpoint != "" && q.KVEventsConfig.DiscoverPods {
		d.warnAt(p, params, "kvEventsConfig.discoverPods", "has no effect: with zmqEndpoint engines connect to it, and none is dialled; remove one")
	}
	if q.KVEventsConfig.ZMQEndpoint != "" && discovery.SocketPort != kvevents.DefaultSocketPort {
		d.warnAt(p, params, "kvEventsConfig.podDiscoveryConfig.socketPort", "has no effect: with zmqEndpoint engines connect to it, and none is dialled; remove one")
	}
	if !q.SpeculativeIndexing && q.SpeculativeTTL.Duration != defaultSpeculativeTTL {
		d.warnAt(p, params, "speculativeTTL", "has no effect: speculativeIndexing is false")
	}
	d.tokenizersPool(p, params, q)
}

// tokenizersPool says what becomes of the scorer's own tokenizers; as published, the
// producer has none.
func (d *decoder) tokenizersPool(p *plugin, params *yaml.Node, q precise) {
	const field = "indexerConfig.tokenizersPoolConfig"
	n := present(params, field)
	switch {
	case n == nil:
	case p.typ == preciseScorer:
		d.warn(n, p.path+".parameters."+field, "is deprecated, and no tokenizer is loaded: the pool's endpoints are asked for token ids, at their render routes or at /tokenize; declare a token-producer")
	default:
		d.fail(n, p.path+".parameters."+field, "is not supported: declare a token-producer with vllm instead")
	}
}

// warnAt warns of a parameter that is in the file.
func (d *decoder) warnAt(p *plugin, params *yaml.Node, field, says string) {
	if n := present(params, field); n != nil {
		d.warn(n, p.path+".parameters."+field, "%s", says)
	}
}

// present is the value of a field, "a.b.c", that is in the file and not null.
func present(n *yaml.Node, field string) *yaml.Node {
	n = child(n, strings.Split(field, ".")...)
	if n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return nil
	}
	return n
}
