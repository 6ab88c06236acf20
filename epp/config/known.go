package config

import "strings"

// notBuilt says why a type that llm-d has cannot be used here, and what to write
// instead. Its second result is false for types that nobody knows.
func notBuilt(typ string) (reason string, known bool) {
	const (
		predicted = "it asks llm-d's latency prediction servers, which Fairway has no client for; "
		gpu       = "GPU metrics are not read; write core-metrics-extractor, with a metric of the engine under customMetrics"
		replicas  = "with the flag --replica-port replicas tell each other what is in flight and which prompts are where; remove it"
	)
	if strings.HasPrefix(typ, "multicluster-") || strings.HasSuffix(typ, "-multicluster") || strings.Contains(typ, "-multicluster-") {
		return "there is no routing between clusters; write the type of the same name without multicluster, or list the other cluster's gateway as an AIBackend", true
	}
	reason, known = map[string]string{
		"p2p-source-producer":         "caches are not copied between endpoints; write precise-prefix-cache-producer and prefix-cache-scorer, which send a prompt to where it is cached",
		"burst-prefix-cache-producer": "no request is delayed for others that may come within its window, and none has to be: a prompt counts as cached from when its first request is sent, and later ones follow it; write approx-prefix-cache-producer and prefix-cache-scorer",

		"latency-scorer":             predicted + "write token-load-scorer and prefix-cache-scorer",
		"predicted-latency-producer": predicted + "write inflight-load-producer and token-load-scorer",
		"latency-slo-admitter":       predicted + "write probabilistic-admitter, or the feature gate flowControl with slo-deadline-ordering-policy",
		"slo-headroom-tier-filter":   predicted + "write prefix-cache-affinity-filter or utilization-filter",

		"outlen-bucket": "the length of answers is estimated from the prompt's; write inflight-load-producer with outputRatio",

		"k8s-notification-source": "no plugin here reads Kubernetes notifications; write endpoint-notification-source",
		"dcgm-data-source":        gpu,
		"dcgm-extractor":          gpu,
		"redis-syncer":            replicas,
	}[typ]
	return reason, known
}
