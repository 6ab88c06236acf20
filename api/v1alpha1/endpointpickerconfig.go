package v1alpha1

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// EndpointPickerConfigKind is the kind of [EndpointPickerConfig].
const EndpointPickerConfigKind = "EndpointPickerConfig"

// EndpointPickerConfig configures an endpoint picker. It is a file, not a
// Kubernetes object. Its fields are the union of all published versions.
type EndpointPickerConfig struct {
	metav1.TypeMeta `json:",inline"`

	// FeatureGates lists optional features: a name, or "name=true" or "name=false".
	FeatureGates []string `json:"featureGates,omitempty"`
	// Plugins are the plugins to instantiate.
	Plugins []PluginSpec `json:"plugins,omitempty"`
	// SchedulingProfiles say which plugins choose an endpoint. Without any, one
	// profile with all the filters, scorers and pickers of Plugins is assumed.
	SchedulingProfiles []SchedulingProfile `json:"schedulingProfiles,omitempty"`
	// DataLayer says where endpoints and their metrics come from.
	DataLayer *DataLayerConfig `json:"dataLayer,omitempty"`
	// FlowControl configures queues in front of the scheduler.
	FlowControl *FlowControlConfig `json:"flowControl,omitempty"`
	// RequestHandler configures how requests are read.
	RequestHandler *RequestHandlerConfig `json:"requestHandler,omitempty"`
	// SaturationDetector is the deprecated place of flowControl.saturationDetector.
	SaturationDetector *SaturationDetectorConfig `json:"saturationDetector,omitempty"`
	// Parser is the deprecated place of requestHandler.parsers.
	Parser *PluginReference `json:"parser,omitempty"`
}

// PluginSpec is a plugin to instantiate.
type PluginSpec struct {
	// Name is what references name; empty means Type.
	Name string `json:"name,omitempty"`
	// Type is the type of plugin.
	Type string `json:"type"`
	// Parameters are the type's own.
	Parameters json.RawMessage `json:"parameters,omitempty"`
}

// PluginReference names an entry of EndpointPickerConfig.Plugins.
type PluginReference struct {
	PluginRef string `json:"pluginRef"`
}

// SchedulingProfile is a way to choose an endpoint.
type SchedulingProfile struct {
	// Name identifies the profile.
	Name string `json:"name"`
	// Plugins are its filters, which run in this order, its scorers and its picker.
	Plugins []SchedulingPlugin `json:"plugins,omitempty"`
}

// SchedulingPlugin is a plugin's part in a profile.
type SchedulingPlugin struct {
	// PluginRef names an entry of EndpointPickerConfig.Plugins.
	PluginRef string `json:"pluginRef"`
	// Weight is the weight of a scorer; nil means 1.
	Weight *float64 `json:"weight,omitempty"`
}

// DataLayerConfig says where endpoints and their metrics come from.
type DataLayerConfig struct {
	// InjectDefaults adds the default metrics source; nil means true.
	InjectDefaults *bool `json:"injectDefaults,omitempty"`
	// Sources are the metrics sources.
	Sources []DataLayerSource `json:"sources,omitempty"`
	// Discovery replaces the discovery of endpoints through Kubernetes.
	Discovery *DiscoveryConfig `json:"discovery,omitempty"`
	// PeerDiscovery finds the picker's other replicas.
	PeerDiscovery *PluginReference `json:"peerDiscovery,omitempty"`
	// CrossReplica shares state between the picker's replicas.
	CrossReplica *CrossReplicaConfig `json:"crossReplica,omitempty"`

	// These are the earlier places of the fields of CrossReplica.
	CrossReplicaSyncerPluginRef string           `json:"crossReplicaSyncerPluginRef,omitempty"`
	CrossReplicaSyncInterval    *metav1.Duration `json:"crossReplicaSyncInterval,omitempty"`
	CrossReplicaPublishTimeout  *metav1.Duration `json:"crossReplicaPublishTimeout,omitempty"`
}

// DataLayerSource is a metrics source and what reads it.
type DataLayerSource struct {
	PluginRef string `json:"pluginRef"`
	// Extractors read what the source produces.
	Extractors []PluginReference `json:"extractors,omitempty"`
}

// DiscoveryConfig names the plugin that discovers endpoints.
type DiscoveryConfig struct {
	// PluginRef is the earlier place of Endpoints.
	PluginRef string `json:"pluginRef,omitempty"`
	// Endpoints names the plugin.
	Endpoints *PluginReference `json:"endpoints,omitempty"`
}

// CrossReplicaConfig shares state between the picker's replicas.
type CrossReplicaConfig struct {
	SyncerPluginRef string           `json:"syncerPluginRef,omitempty"`
	SyncInterval    *metav1.Duration `json:"syncInterval,omitempty"`
	PublishTimeout  *metav1.Duration `json:"publishTimeout,omitempty"`
}

// RequestHandlerConfig configures how requests are read.
type RequestHandlerConfig struct {
	// Parsers name parsers; the first whose path suffix matches reads a request.
	Parsers []PluginReference `json:"parsers,omitempty"`
}

// SaturationDetectorConfig names what says when endpoints are saturated.
type SaturationDetectorConfig struct {
	// PluginRef names the plugin; empty means utilization-detector.
	PluginRef string `json:"pluginRef,omitempty"`
}

// FlowControlConfig configures queues in front of the scheduler. It matters only
// with the feature gate flowControl.
type FlowControlConfig struct {
	// MaxBytes and MaxRequests bound everything queued; nil and 0 mean no bound.
	MaxBytes    *resource.Quantity `json:"maxBytes,omitempty"`
	MaxRequests *resource.Quantity `json:"maxRequests,omitempty"`
	// DefaultRequestTTL and NoEndpointRequestTTL bound the time in the queue with
	// and without endpoints; 0 means no bound.
	DefaultRequestTTL    *metav1.Duration `json:"defaultRequestTTL,omitempty"`
	NoEndpointRequestTTL *metav1.Duration `json:"noEndpointRequestTTL,omitempty"`
	// DefaultPriorityBand and DefaultNegativePriorityBand are for priorities that
	// PriorityBands does not list.
	DefaultPriorityBand         *PriorityBandConfig  `json:"defaultPriorityBand,omitempty"`
	DefaultNegativePriorityBand *PriorityBandConfig  `json:"defaultNegativePriorityBand,omitempty"`
	PriorityBands               []PriorityBandConfig `json:"priorityBands,omitempty"`
	// UsageLimitPolicyPluginRef names the usage limit policy.
	UsageLimitPolicyPluginRef string `json:"usageLimitPolicyPluginRef,omitempty"`
	// SaturationDetector names what says when to queue.
	SaturationDetector *SaturationDetectorConfig `json:"saturationDetector,omitempty"`
	// EnableEviction ends running requests of negative priority for others.
	EnableEviction bool `json:"enableEviction,omitempty"`
}

// PriorityBandConfig configures the queue of one priority.
type PriorityBandConfig struct {
	// Priority is the band's; higher is more important.
	Priority int `json:"priority"`
	// MaxBytes and MaxRequests bound the band.
	MaxBytes    *resource.Quantity `json:"maxBytes,omitempty"`
	MaxRequests *resource.Quantity `json:"maxRequests,omitempty"`
	// FairnessPolicyRef and OrderingPolicyRef name the band's policies.
	FairnessPolicyRef string `json:"fairnessPolicyRef,omitempty"`
	OrderingPolicyRef string `json:"orderingPolicyRef,omitempty"`
}
