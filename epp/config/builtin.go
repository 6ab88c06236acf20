package config

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/scheduler/scorer"
)

// MetricsSource are the parameters of metrics-data-source.
type MetricsSource struct {
	// Scheme is http or https, Path the page's path.
	Scheme string `json:"scheme"`
	Path   string `json:"path"`
	// Port replaces the endpoint's when it is not 0.
	Port int `json:"port"`
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool `json:"insecureSkipVerify"`
	// CACertPath verifies the server; ClientCertPath and ClientKeyPath identify the
	// client, both or none.
	CACertPath     string `json:"caCertPath"`
	ClientCertPath string `json:"clientCertPath"`
	ClientKeyPath  string `json:"clientKeyPath"`
	// Interval is the time between two reads; 0 leaves it to the pool.
	Interval Duration `json:"interval"`
	// Families is ignored: only the series that are wanted are ever parsed.
	Families []string `json:"families"`
}

func defaultMetricsSource() MetricsSource {
	return MetricsSource{Scheme: "http", Path: "/metrics", InsecureSkipVerify: true}
}

// Schemes are the schemes by which metrics can be read.
func Schemes() []string { return []string{"http", "https"} }

// Validate reports the first parameter that makes no sense.
func (s MetricsSource) Validate() error {
	switch {
	case !slices.Contains(Schemes(), s.Scheme):
		return fmt.Errorf("scheme is %.60q: must be %s", s.Scheme, strings.Join(Schemes(), " or "))
	case s.Path == "" || s.Path[0] != '/':
		return fmt.Errorf("path is %.60q: must begin with /", s.Path)
	case s.Port < 0 || s.Port > 65535:
		return fmt.Errorf("port is %d: must be 1 to 65535", s.Port)
	case s.Interval.Duration < 0:
		return fmt.Errorf("interval is %v: must not be negative", s.Interval.Duration)
	case (s.ClientCertPath == "") != (s.ClientKeyPath == ""):
		return errors.New("clientCertPath and clientKeyPath: set both or none")
	}
	return nil
}

// MetricsEngines are the parameters of core-metrics-extractor.
type MetricsEngines struct {
	// EngineLabelKey is the label that names an endpoint's engine, in addition to
	// the usual ones.
	EngineLabelKey string `json:"engineLabelKey"`
	// DefaultEngine is the engine of endpoints without the label; "" means vllm.
	DefaultEngine string `json:"defaultEngine"`
	// EngineConfigs add engines, or replace those built in.
	EngineConfigs []EngineConfig `json:"engineConfigs"`
}

// EngineConfig says what an engine calls its metrics: each a series, with labels
// where it needs them, or "" when the engine has none.
type EngineConfig struct {
	Name                string `json:"name"`
	QueuedRequestsSpec  string `json:"queuedRequestsSpec"`
	RunningRequestsSpec string `json:"runningRequestsSpec"`
	KVUsageSpec         string `json:"kvUsageSpec"`
	LoRASpec            string `json:"loraSpec"`
	CacheInfoSpec       string `json:"cacheInfoSpec"`
	// CustomMetrics are for filters and scorers that read them.
	CustomMetrics []CustomMetric `json:"customMetrics"`
}

const maxCustomMetrics = 256

// Validate reports the first parameter that makes no sense.
func (m MetricsEngines) Validate() error {
	seen := map[string]bool{}
	for i, e := range m.EngineConfigs {
		switch {
		case e.Name == "":
			return fmt.Errorf("engineConfigs[%d].name is missing", i)
		case seen[e.Name]:
			return fmt.Errorf("engineConfigs[%d].name: %q is there twice", i, e.Name)
		}
		keys := map[string]bool{}
		for j, c := range e.CustomMetrics {
			switch {
			case c.AttributeKey == "":
				return fmt.Errorf("engineConfigs[%d].customMetrics[%d].attributeKey is missing", i, j)
			case c.MetricSpec == "":
				return fmt.Errorf("engineConfigs[%d].customMetrics[%d].metricSpec is missing", i, j)
			case keys[c.AttributeKey]:
				return fmt.Errorf("engineConfigs[%d].customMetrics[%d].attributeKey: %.60q is there twice", i, j, c.AttributeKey)
			}
			keys[c.AttributeKey] = true
		}
		if len(e.CustomMetrics) > maxCustomMetrics {
			return fmt.Errorf("engineConfigs[%d].customMetrics has %d entries: at most %d are allowed", i, len(e.CustomMetrics), maxCustomMetrics)
		}
		seen[e.Name] = true
	}
	return nil
}

func defaultSaturation() Saturation {
	s := Saturation{QueueDepthThreshold: 5, KVCacheUtilThreshold: 0.8}
	s.MetricsStalenessThreshold.Duration = 200e6
	return s
}

// Validate reports the first parameter that makes no sense.
func (s Saturation) Validate() error {
	switch {
	case s.QueueDepthThreshold < 1:
		return fmt.Errorf("queueDepthThreshold is %d: must be 1 or more", s.QueueDepthThreshold)
	case !(s.KVCacheUtilThreshold > 0 && s.KVCacheUtilThreshold <= 1):
		return fmt.Errorf("kvCacheUtilThreshold is %v: must be above 0 and at most 1", s.KVCacheUtilThreshold)
	case s.MetricsStalenessThreshold.Duration <= 0:
		return fmt.Errorf("metricsStalenessThreshold is %v: must be above 0", s.MetricsStalenessThreshold.Duration)
	case !(s.Headroom >= 0) || math.IsInf(s.Headroom, 1):
		return fmt.Errorf("headroom is %v: must be 0 or more", s.Headroom)
	}
	return nil
}

// Validate reports the first parameter that makes no sense.
func (f FileDiscovery) Validate() error {
	if f.Path == "" {
		return errors.New("path is missing: name the file that lists the endpoints")
	}
	return nil
}

// Validate reports the first parameter that makes no sense.
func (a ApproxPrefix) Validate() error {
	for _, f := range [...]struct {
		name  string
		value int
	}{
		{"blockSizeTokens", a.BlockSizeTokens}, {"maxPrefixBlocksToMatch", a.MaxPrefixBlocksToMatch},
		{"maxPrefixTokensToMatch", a.MaxPrefixTokensToMatch}, {"lruCapacityPerServer", a.LRUCapacityPerServer},
		{"blockSize", a.BlockSize},
	} {
		if f.value < 0 {
			return fmt.Errorf("%s is %d: must be 0 or more", f.name, f.value)
		}
	}
	return nil
}

func defaultApproxPrefix() ApproxPrefix { return ApproxPrefix{AutoTune: true} }

func buildApproxPrefix(d *decoder, p *plugin, params *yaml.Node) any {
	a := decodeParams(d, p, params, defaultApproxPrefix())
	return d.characters(p, params, a)
}

// characters converts the deprecated block size in characters.
func (d *decoder) characters(p *plugin, params *yaml.Node, a ApproxPrefix) ApproxPrefix {
	if a.BlockSize > 0 {
		d.warn(child(params, "blockSize"), p.path+".parameters.blockSize", "is deprecated: write blockSizeTokens, about a quarter of it")
		if a.BlockSizeTokens == 0 {
			a.BlockSizeTokens = max(1, a.BlockSize/4)
		}
	}
	return a
}

// prefixCacheParameters are those of prefix-cache-scorer, and those of the
// producer, which were the scorer's in earlier versions.
type prefixCacheParameters struct {
	scorer.PrefixCacheParameters
	ApproxPrefix
}

// Validate implements validator.
func (p prefixCacheParameters) Validate() error {
	return errors.Join(p.PrefixCacheParameters.Validate(), p.ApproxPrefix.Validate())
}

// prefixCache is a prefix-cache-scorer and the producer's parameters it was given.
type prefixCache struct {
	*scorer.PrefixCache
	producer *ApproxPrefix
}

func buildPrefixCache(d *decoder, p *plugin, params *yaml.Node) any {
	all := decodeParams(d, p, params, prefixCacheParameters{scorer.DefaultPrefixCacheParameters(), defaultApproxPrefix()})
	out := prefixCache{PrefixCache: scorer.NewPrefixCache(p.name, all.PrefixCacheParameters)}
	for _, field := range []string{"autoTune", "blockSizeTokens", "maxPrefixBlocksToMatch", "maxPrefixTokensToMatch", "lruCapacityPerServer", "blockSize"} {
		if n := child(params, field); n != nil && out.producer == nil {
			d.warn(n, p.path+".parameters."+field, "belongs to approx-prefix-cache-producer by now; it is still used")
			a := d.characters(p, params, all.ApproxPrefix)
			out.producer = &a
		}
	}
	return out
}

func buildActiveRequest(d *decoder, p *plugin, params *yaml.Node) any {
	a := decodeParams(d, p, params, scorer.DefaultActiveRequestParameters())
	if n := child(params, "requestTimeout"); n != nil {
		d.warn(n, p.path+".parameters.requestTimeout", "is deprecated and ignored: requests are counted until they end")
	}
	return scorer.NewActiveRequest(p.name, a)
}

func buildNoHitLRU(d *decoder, p *plugin, params *yaml.Node) any {
	q := decodeParams(d, p, params, scorer.DefaultNoHitLRUParameters())
	for _, field := range []string{"prefixPluginType", "prefixPluginName"} {
		d.warnAt(p, params, field, "is deprecated and has no effect: write prefixMatchInfoProducerName, or remove it")
	}
	return scorer.NewNoHitLRU(p.name, q)
}
