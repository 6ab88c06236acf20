package config

// notBuilt says why a type that llm-d has cannot be used here. Its second result
// is false for types that nobody knows.
func notBuilt(typ string) (reason string, known bool) {
	const (
		predicted = "there is no latency predictor"
		exact     = "the prefix index follows this process's own requests; engine cache events are not configured here"
		federated = "routing between clusters is not implemented"
		admission = "this kind of admission control is not implemented"
		grpc      = "only requests over HTTP are read"
		media     = "caches of encoded images are not followed"
		replicas  = "replicas do not share state"
	)
	reason, known = map[string]string{
		"header-phase-profile-handler": "use header-profile-handler",
		"p2p-source-producer":          "caches are not copied between endpoints",

		"precise-prefix-cache-scorer":   exact + "; use prefix-cache-scorer",
		"precise-prefix-cache-producer": exact + "; use approx-prefix-cache-producer",
		"burst-prefix-cache-producer":   "use approx-prefix-cache-producer",

		"latency-scorer":             predicted,
		"predicted-latency-producer": predicted,
		"latency-slo-admitter":       predicted,
		"slo-headroom-tier-filter":   predicted,

		"mm-embeddings-cache-scorer":       media,
		"mm-embeddings-cache-producer":     media,
		"multicluster-metrics-data-source": federated,
		"multicluster-metrics-extractor":   federated,

		"request-attribute-reporter": "request attributes are not reported through CEL",

		"agent-identity": admission,

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
