package config

import (
	"fmt"
	"time"

	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/epp/report"
	"github.com/fairway-ai/fairway/scheduler"
)

// Config is what a configuration file asks for.
type Config struct {
	// Policy is the configured scheduling profile. It is nil when the file
	// configures no filter, scorer or picker: use the default policy then.
	Policy scheduler.Policy
	// Discovery is where endpoints are listed; nil means Kubernetes.
	Discovery *FileDiscovery
	// Prefix are the settings of the prefix index.
	Prefix ApproxPrefix
	// Metrics says how to read the endpoints' metrics.
	Metrics Metrics
	// Saturation says when endpoints are saturated; nil when the file does not say.
	Saturation *Saturation
	// Concurrency says it by what is in flight instead; nil when the file does not.
	Concurrency *flowcontrol.Concurrency
	// FlowControl is how requests wait for saturated endpoints; nil when they do not.
	FlowControl *flowcontrol.Config
	// Probabilistic sheds requests of priorities below 0; nil does not.
	Probabilistic *flowcontrol.Probabilistic
	// KVCache says how engines' KV cache events are followed; nil when they are not.
	KVCache *KVCache
	// Tokens says where the token ids of prompts come from.
	Tokens Tokens
	// SessionHeaders are the request headers that say what session a request is of, in
	// lower case and the first that is there; nil when none does.
	SessionHeaders []string
	// Models is where endpoints list the models they serve; nil when nobody asks.
	Models *ModelsSource
	// Report are the numbers that are told of responses.
	Report []report.Attribute
	// ServedHeader asks for x-conformance-test-served-endpoint on responses.
	ServedHeader bool
}

// ServedVerifier are the parameters of destination-endpoint-served-verifier, which
// has none: it tells a conformance test which endpoint the gateway says served.
type ServedVerifier struct{}

const servedVerifierType = "destination-endpoint-served-verifier"

// Warning is something in a configuration that works, but not as it may seem or
// not for long.
type Warning struct {
	// Line is where, from 1; 0 when it is nowhere in particular.
	Line int
	// Path is the field, such as "plugins[2].type".
	Path string
	// Message says what, and what to write instead.
	Message string
}

func (w Warning) String() string { return place(w.Line, w.Path, w.Message) }

// FieldError is an error in a configuration. Load joins as many as it finds.
type FieldError struct {
	// Line is where, from 1; 0 when it is nowhere in particular.
	Line int
	// Path is the field, such as "plugins[2].type"; "" for the file.
	Path string
	// Message says what is wrong and how to fix it.
	Message string
}

func (e *FieldError) Error() string { return place(e.Line, e.Path, e.Message) }

func place(line int, path, message string) string {
	if path != "" {
		message = path + ": " + message
	}
	if line > 0 {
		message = fmt.Sprintf("line %d: %s", line, message)
	}
	return message
}

// FileDiscovery are the parameters of file-discovery.
type FileDiscovery struct {
	// Path is the file that lists the endpoints.
	Path string `json:"path"`
	// WatchFile reads the file again when it changes.
	WatchFile bool `json:"watchFile"`
}

// ApproxPrefix are the parameters of approx-prefix-cache-producer. 0 means that
// the file leaves the choice to the prefix index.
type ApproxPrefix struct {
	// AutoTune takes block size and capacity from the endpoints' metrics where they
	// say.
	AutoTune bool `json:"autoTune"`
	// BlockSizeTokens is the size of a block in tokens.
	BlockSizeTokens int `json:"blockSizeTokens"`
	// MaxPrefixBlocksToMatch and MaxPrefixTokensToMatch bound how much of a prompt
	// is looked up; tokens take precedence.
	MaxPrefixBlocksToMatch int `json:"maxPrefixBlocksToMatch"`
	MaxPrefixTokensToMatch int `json:"maxPrefixTokensToMatch"`
	// LRUCapacityPerServer is how many blocks of BlockSizeTokens an endpoint is
	// taken to hold.
	LRUCapacityPerServer int `json:"lruCapacityPerServer"`
	// BlockSize is the deprecated block size, in characters.
	BlockSize int `json:"blockSize"`
}

// Metrics says how to read the endpoints' metrics.
type Metrics struct {
	// Disabled is true when the file switches the default source off and names no
	// other.
	Disabled bool
	// Source is where the metrics are.
	Source MetricsSource
	// Engines say what the metrics are called.
	Engines MetricsEngines
}

// Saturation are the parameters of utilization-detector.
type Saturation struct {
	// QueueDepthThreshold is the queue length of a saturated endpoint.
	QueueDepthThreshold int `json:"queueDepthThreshold"`
	// KVCacheUtilThreshold is its share of used KV cache.
	KVCacheUtilThreshold float64 `json:"kvCacheUtilThreshold"`
	// MetricsStalenessThreshold is the age from which metrics mean nothing.
	MetricsStalenessThreshold Duration `json:"metricsStalenessThreshold"`
	// Headroom is the share by which a single endpoint may exceed the thresholds.
	Headroom float64 `json:"headroom"`
}

// Duration is a time.Duration written as "200ms".
type Duration struct{ time.Duration }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%.80q is not a duration: write a number and a unit, such as 200ms or 1m", text)
	}
	d.Duration = v
	return nil
}
