package config

// notBuilt says why a type that llm-d has cannot be used here. Its second result
// is false for types that nobody knows.
func notBuilt(typ string) (reason string, known bool) {
	const (
		disagg    = "serving prefill and decode on different endpoints is not implemented"
		predicted = "there is no latency predictor"
		exact     = "the prefix index follows this process's own requests; engine cache events are not configured here"
		topology  = "endpoints have no topology attributes"
		attribute = "endpoints have no custom attributes"
		federated = "routing between clusters is not implemented"
		admission = "this kind of admission control is not implemented"
		grpc      = "only requests over HTTP are read"
		media     = "caches of encoded images are not followed"
		replicas  = "replicas do not share state"
	)
	reason, known = map[string]string{
		"disagg-profile-handler":           disagg,
		"pd-profile-handler":               disagg,
		"data-parallel-profile-handler":    "each port of a pod is an endpoint of its own; no handler is needed",
		"header-profile-handler":           "there is one scheduling profile for all requests",
		"header-phase-profile-handler":     "there is one scheduling profile for all requests",
		"prefix-based-pd-decider":          disagg,
		"always-disagg-pd-decider":         disagg,
		"always-disagg-multimodal-decider": disagg,
		"disagg-headers-handler":           disagg,
		"prefill-header-handler":           disagg,
		"p2p-source-producer":              disagg,

		"precise-prefix-cache-scorer":   exact + "; use prefix-cache-scorer",
		"precise-prefix-cache-producer": exact + "; use approx-prefix-cache-producer",
		"burst-prefix-cache-producer":   "use approx-prefix-cache-producer",
		"session-id-producer":           "sessions are kept in the token of session-affinity-scorer only",

		"latency-scorer":             predicted,
		"predicted-latency-producer": predicted,
		"latency-slo-admitter":       predicted,
		"slo-headroom-tier-filter":   predicted,

		"context-length-aware":             "endpoints are not told apart by context length; use label-selector-filter",
		"mm-embeddings-cache-scorer":       media,
		"mm-embeddings-cache-producer":     media,
		"topology-affinity-scorer":         topology,
		"topology-affinity-filter":         topology,
		"topology-extractor":               topology,
		"endpoint-attribute-scorer":        attribute,
		"endpoint-attribute-filter":        attribute,
		"header-label-affinity-scorer":     "labels are matched by label-selector-filter only",
		"multicluster-metrics-data-source": federated,
		"multicluster-metrics-extractor":   federated,

		"prefix-cache-affinity-filter": "affinity is scored, not enforced; use prefix-cache-scorer, or no profile at all: the default policy weighs cache against load",
		"session-affinity-filter":      "affinity is scored, not enforced; use session-affinity-scorer",
		"utilization-filter":           "endpoints are not filtered by utilization; use queue-scorer and kv-cache-utilization-scorer",

		"request-attribute-reporter": "request attributes are not reported through CEL",

		"probabilistic-admitter": admission,
		"agent-identity":         admission,
		"concurrency-detector":   "saturation is detected by utilization-detector only",

		"models-data-source":      "the list of models is not collected from endpoints",
		"models-data-extractor":   "the list of models is not collected from endpoints",
		"models-responder":        "the list of models is not collected from endpoints",
		"k8s-notification-source": "no plugin here reads Kubernetes notifications",
		"dcgm-data-source":        "GPU metrics are not read",
		"dcgm-extractor":          "GPU metrics are not read",
		"redis-syncer":            replicas,

		"vllmgrpc-parser":   grpc,
		"vertexai-parser":   "requests in Vertex AI's schema are not read",
		"sglanghttp-parser": "requests in SGLang's own schema are not read; its OpenAI endpoints are",
	}[typ]
	return reason, known
}

// flowControlTypes are the policies of flow control. They may be declared, and do
// nothing while the feature gate is off.
func flowControlTypes() []string {
	return []string{
		"fcfs-ordering-policy", "edf-ordering-policy", "slo-deadline-ordering-policy",
		"global-strict-fairness-policy", "round-robin-fairness-policy", "program-aware-fairness",
		"static-usage-limit-policy", "priority-holdback-policy", "soft-reflective-ceiling-policy",
		"sheddable-eviction-filter", "priority-then-time-eviction-order-policy",
	}
}
