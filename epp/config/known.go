package config

import "strings"

// notBuilt says why a type that llm-d has cannot be used here, and what to write
// instead. Its second result is false for types that nobody knows.
func notBuilt(typ string) (reason string, known bool) {
	const (
		predicted = "it asks llm-d's latency prediction servers, which Fairway has no client for; "
		models    = "nothing that schedules reads which models an endpoint serves; remove it, and let a pool, or an AIRoute that GET /v1/models lists, say which models there are"
		gpu       = "GPU metrics are not read; write core-metrics-extractor, with a metric of the engine under customMetrics"
		replicas  = "with the flag --replica-port replicas tell each other what is in flight and which prompts are where; remove it"
	)
	if strings.HasPrefix(typ, "multicluster-") || strings.HasSuffix(typ, "-multicluster") || strings.Contains(typ, "-multicluster-") {
		return "there is no routing between clusters; write the type of the same name without multicluster, or list the other cluster's gateway as an AIBackend", true
	}
	reason, known = map[string]string{
		"header-phase-profile-handler": "it was renamed; write header-profile-handler",

		"p2p-source-producer":         "caches are not copied between endpoints; write precise-prefix-cache-producer and prefix-cache-scorer, which send a prompt to where it is cached",
		"burst-prefix-cache-producer": "requests are not held for others that may follow; write approx-prefix-cache-producer, which knows of a prompt from when it is sent, and no-hit-lru-scorer",

		"latency-scorer":             predicted + "write token-load-scorer and prefix-cache-scorer",
		"predicted-latency-producer": predicted + "write inflight-load-producer and token-load-scorer",
		"latency-slo-admitter":       predicted + "write probabilistic-admitter, or the feature gate flowControl with slo-deadline-ordering-policy",
		"slo-headroom-tier-filter":   predicted + "write prefix-cache-affinity-filter or utilization-filter",

		"request-attribute-reporter": "attributes of requests are not worked out by expressions; write costs in an AIRoute, which has them",
		"agent-identity":             "requests are not told apart by what agents they are from; have the gateway set x-llm-d-inference-fairness-id, which flow control reads",
		"outlen-bucket":              "the length of answers is estimated from the prompt's; write inflight-load-producer with outputRatio",

		"models-data-source":    models,
		"models-data-extractor": models,
		"models-responder":      models,

		"k8s-notification-source": "no plugin here reads Kubernetes notifications; write endpoint-notification-source",
		"dcgm-data-source":        gpu,
		"dcgm-extractor":          gpu,
		"redis-syncer":            replicas,
	}[typ]
	return reason, known
}
