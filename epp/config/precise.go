package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/pool/kvevents"
	"github.com/fairway-ai/fairway/scheduler/scorer"
)

const (
	preciseProducer = "precise-prefix-cache-producer"
	preciseScorer   = "precise-prefix-cache-scorer"
	approxProducer  = "approx-prefix-cache-producer"
)

const (
	defaultBlockTokens    = 16
	defaultSpeculativeTTL = 2 * time.Second
	defaultPodSelector    = "llm-d.ai/inference-serving=true"

	// maxBlockTokens and maxLesserTiers are the bounds of package pool/kvevents/index.
	maxBlockTokens = 4096
	maxLesserTiers = 3
	maxEventWorker = 256
	// maxSpeculation is longer than any engine takes to tell of a prompt.
	maxSpeculation = time.Hour
)

// precise are the parameters of precise-prefix-cache-producer. Pointers are of what has
// no effect, so that nobody is told of a default.
type precise struct {
	TokenProcessorConfig tokenProcessor `json:"tokenProcessorConfig"`
	IndexerConfig        blockIndexer   `json:"indexerConfig"`
	KVEventsConfig       kvEvents       `json:"kvEventsConfig"`
	SpeculativeIndexing  bool           `json:"speculativeIndexing"`
	SpeculativeTTL       Duration       `json:"speculativeTTL"`
}

// tokenProcessor cuts prompts into blocks.
type tokenProcessor struct {
	// BlockSize is the deprecated name of BlockSizeTokens, which is nil when only this
	// is there.
	BlockSize       *int   `json:"blockSize"`
	BlockSizeTokens *int   `json:"blockSizeTokens"`
	HashSeed        string `json:"hashSeed"`
	HashAlgorithm   string `json:"hashAlgorithm"`
}

// blockIndexer keeps the index of blocks.
type blockIndexer struct {
	KVBlockIndexConfig    *blockIndex    `json:"kvBlockIndexConfig"`
	KVCacheBackendConfigs []cacheBackend `json:"kvCacheBackendConfigs"`
	// TokenizersPoolConfig turned prompts into tokens in earlier versions, of the
	// scorer only.
	TokenizersPoolConfig *tokenizersPool `json:"tokenizersPoolConfig"`
	// TokenProcessorConfig and PrefixStoreConfig are from earlier versions, too; the
	// former counts where it is not in its present place.
	TokenProcessorConfig *tokenProcessor `json:"tokenProcessorConfig"`
	PrefixStoreConfig    json.RawMessage `json:"prefixStoreConfig"`
}

// blockIndex is where the index is kept. Only memory is available.
type blockIndex struct {
	InMemoryConfig         *inMemoryIndex  `json:"inMemoryConfig"`
	CostAwareMemoryConfig  *costAwareIndex `json:"costAwareMemoryConfig"`
	RedisConfig            json.RawMessage `json:"redisConfig"`
	ValkeyConfig           json.RawMessage `json:"valkeyConfig"`
	EnableMetrics          *bool           `json:"enableMetrics"`
	MetricsLoggingInterval json.RawMessage `json:"metricsLoggingInterval"`
	MaxPrefixTokensToMatch *int            `json:"maxPrefixTokensToMatch"`
}

type inMemoryIndex struct {
	Size         *int `json:"size"`
	PodCacheSize *int `json:"podCacheSize"`
}

type costAwareIndex struct {
	Size string `json:"size"`
}

// cacheBackend is what a block counts by where it is kept.
type cacheBackend struct {
	Name   string  `json:"name"`
	Weight float64 `json:"weight"`
}

// kvEvents are where engines' events come from.
type kvEvents struct {
	ZMQEndpoint        string       `json:"zmqEndpoint"`
	TopicFilter        string       `json:"topicFilter"`
	Concurrency        int          `json:"concurrency"`
	EngineType         string       `json:"engineType"`
	DiscoverPods       bool         `json:"discoverPods"`
	PodDiscoveryConfig podDiscovery `json:"podDiscoveryConfig"`
}

// podDiscovery says where endpoints publish.
type podDiscovery struct {
	PodLabelSelector *string `json:"podLabelSelector"`
	PodNamespace     *string `json:"podNamespace"`
	SocketPort       int     `json:"socketPort"`
	ReplaySocketPort int     `json:"replaySocketPort"`
}

func defaultPrecise() precise {
	return precise{
		IndexerConfig: blockIndexer{
			KVCacheBackendConfigs: []cacheBackend{{"gpu", 1}, {"cpu", 0.8}},
		},
		KVEventsConfig: kvEvents{
			TopicFilter: "kv@", Concurrency: 4, EngineType: "vllm", DiscoverPods: true,
			PodDiscoveryConfig: podDiscovery{SocketPort: kvevents.DefaultSocketPort},
		},
		SpeculativeTTL: Duration{defaultSpeculativeTTL},
	}
}

// Validate implements validator.
func (p precise) Validate() error {
	for _, validate := range [...]func() error{p.tokenProcessor().validate, p.IndexerConfig.validate, p.KVEventsConfig.validate} {
		if err := validate(); err != nil {
			return err
		}
	}
	if ttl := p.SpeculativeTTL.Duration; ttl < 0 || ttl > maxSpeculation {
		return fmt.Errorf("speculativeTTL is %v: must be above 0 and at most %v", ttl, maxSpeculation)
	}
	return nil
}

// tokenProcessor is the one that counts.
func (p precise) tokenProcessor() tokenProcessor {
	if old := p.IndexerConfig.TokenProcessorConfig; old != nil && p.TokenProcessorConfig == (tokenProcessor{}) {
		return *old
	}
	return p.TokenProcessorConfig
}

func (t tokenProcessor) validate() error {
	if n := t.blockTokens(); n < 1 || n > maxBlockTokens {
		return fmt.Errorf("tokenProcessorConfig.blockSizeTokens is %d: must be 1 to %d", n, maxBlockTokens)
	}
	switch t.HashAlgorithm {
	case "", "cbor-fnv", "xxh64":
		return nil
	}
	return fmt.Errorf("tokenProcessorConfig.hashAlgorithm is %.60q: must be cbor-fnv or xxh64", t.HashAlgorithm)
}

// blockTokens is the size of a block: the present name wins over the deprecated one, and
// 0 is the default.
func (t tokenProcessor) blockTokens() int {
	for _, n := range [...]*int{t.BlockSizeTokens, t.BlockSize} {
		if n != nil && *n != 0 {
			return *n
		}
	}
	return defaultBlockTokens
}

func (b blockIndexer) validate() error {
	seen := map[string]bool{}
	lesser := 0
	for i, tier := range b.KVCacheBackendConfigs {
		at, name := fmt.Sprintf("indexerConfig.kvCacheBackendConfigs[%d]", i), strings.ToLower(tier.Name)
		switch {
		case name == "":
			return fmt.Errorf("%s.name is missing", at)
		case seen[name]:
			return fmt.Errorf("%s.name: %.60q is there twice", at, tier.Name)
		case !(tier.Weight >= 0 && tier.Weight <= 1):
			return fmt.Errorf("%s.weight is %v: must be 0 to 1", at, tier.Weight)
		}
		seen[name] = true
		if tier.Weight < 1 {
			lesser++
		}
	}
	if lesser > maxLesserTiers {
		return fmt.Errorf("indexerConfig.kvCacheBackendConfigs has %d weights below 1: at most %d are told apart", lesser, maxLesserTiers)
	}
	return nil
}

func (k kvEvents) validate() error {
	const at = "kvEventsConfig."
	switch d := k.PodDiscoveryConfig; {
	case k.Concurrency < 1 || k.Concurrency > maxEventWorker:
		return fmt.Errorf(at+"concurrency is %d: must be 1 to %d", k.Concurrency, maxEventWorker)
	case k.EngineType != "" && k.EngineType != "vllm" && k.EngineType != "sglang":
		return fmt.Errorf(at+"engineType is %.60q: must be vllm or sglang", k.EngineType)
	case d.SocketPort < 1 || d.SocketPort > 65535:
		return fmt.Errorf(at+"podDiscoveryConfig.socketPort is %d: must be 1 to 65535", d.SocketPort)
	case d.ReplaySocketPort > 65535:
		return fmt.Errorf(at+"podDiscoveryConfig.replaySocketPort is %d: must be 1 to 65535, or 0 for none", d.ReplaySocketPort)
	case k.ZMQEndpoint == "" && !k.DiscoverPods:
		return fmt.Errorf(at + "discoverPods is false and zmqEndpoint is empty: no engine's events would be followed; set one of them")
	case k.ZMQEndpoint != "":
		if _, err := kvevents.ParseAddress(k.ZMQEndpoint); err != nil {
			return fmt.Errorf(at+"zmqEndpoint is %.60q: must be tcp://HOST:PORT, such as tcp://*:5557, where engines connect to", k.ZMQEndpoint)
		}
	}
	return nil
}

// kvCache is what the parameters come to.
func (p precise) kvCache() *KVCache {
	k := p.KVEventsConfig
	c := &KVCache{
		BlockTokens: p.tokenProcessor().blockTokens(),
		Bind:        k.ZMQEndpoint,
		TopicFilter: k.TopicFilter,
		SocketPort:  k.PodDiscoveryConfig.SocketPort,
		ReplayPort:  max(0, k.PodDiscoveryConfig.ReplaySocketPort),
		Workers:     k.Concurrency,
		Speculative: p.SpeculativeIndexing, SpeculativeTTL: p.SpeculativeTTL,
		TierWeights: map[string]float32{},
	}
	for _, tier := range p.IndexerConfig.KVCacheBackendConfigs {
		c.TierWeights[strings.ToLower(tier.Name)] = float32(tier.Weight)
	}
	return c
}

// preciseIndex is a declared producer, or the scorer that is one, too.
type preciseIndex struct {
	cache *KVCache
	// scorer is nil for the producer.
	scorer *scorer.PrefixCache
}

func buildPrecise(d *decoder, p *plugin, params *yaml.Node) any {
	before := len(d.errs)
	q := decodeParams(d, p, params, defaultPrecise())
	if len(d.errs) > before {
		return nil
	}
	if q.SpeculativeTTL.Duration == 0 {
		q.SpeculativeTTL.Duration = defaultSpeculativeTTL
	}
	if q.KVEventsConfig.ZMQEndpoint != "" && child(params, "kvEventsConfig", "discoverPods") == nil {
		q.KVEventsConfig.DiscoverPods = false
	}
	if t := q.tokenProcessor(); t.BlockSize == nil && t.BlockSizeTokens == nil && q.IndexerConfig.TokenProcessorConfig == nil {
		n := defaultBlockTokens
		q.TokenProcessorConfig.BlockSizeTokens = &n
	}
	d.preciseWarnings(p, params, q)
	out := preciseIndex{cache: q.kvCache()}
	if p.typ == preciseScorer {
		out.scorer = scorer.NewPrefixCache(p.name, scorer.DefaultPrefixCacheParameters())
	}
	p.params = q
	return out
}

// setKVCache notes how events are followed. There is one index; plugins that want the
// same of it share it.
func (l *loader) setKVCache(p *plugin, b preciseIndex) {
	if have := l.config.KVCache; have != nil && !reflect.DeepEqual(have, b.cache) {
		l.fail(p.node, p.path, "there is an index of KV cache events already, with other parameters: only one is supported; write the same, or refer to the first")
		return
	}
	l.config.KVCache = b.cache
}
