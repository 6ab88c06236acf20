package metrics

import "github.com/prometheus/client_golang/prometheus"

// naming is one of the families of names the same numbers appear under.
type naming struct {
	request, pool, extension string

	requestSize, responseSize               string
	inputTokens, outputTokens, cachedTokens string
	running, ntpot                          string
	readyEndpoints, perEndpointQueue        string
	endpointLabel, attemptLabel             string
	kvIndex                                 string
	// withFlow: requests carry fairness_id and priority; withPriority: only that.
	withFlow     bool
	runningModel bool // the running gauge has the model only
}

// canonical is llm-d's, legacy the Gateway API Inference Extension's.
var (
	canonical = naming{
		request: "llm_d_epp_request", pool: "llm_d_epp", extension: "llm_d_epp",
		requestSize: "llm_d_epp_request_size_bytes", responseSize: "llm_d_epp_response_size_bytes",
		inputTokens: "llm_d_epp_request_input_tokens", outputTokens: "llm_d_epp_request_output_tokens",
		cachedTokens: "llm_d_epp_request_cached_tokens", running: "llm_d_epp_request_running",
		ntpot: "llm_d_epp_request_ntpot_seconds", readyEndpoints: "llm_d_epp_ready_endpoints",
		perEndpointQueue: "llm_d_epp_per_endpoint_queue_size", endpointLabel: "model_server_endpoint",
		attemptLabel: "endpoint_name", kvIndex: "llm_d_epp_kv_cache_index", withFlow: true,
	}
	legacy = naming{
		request: "inference_objective_request", pool: "inference_pool", extension: "inference_extension",
		requestSize: "inference_objective_request_sizes", responseSize: "inference_objective_response_sizes",
		inputTokens: "inference_objective_input_tokens", outputTokens: "inference_objective_output_tokens",
		cachedTokens: "inference_objective_prompt_cached_tokens", running: "inference_objective_running_requests",
		ntpot: "inference_objective_normalized_time_per_output_token_seconds", readyEndpoints: "inference_pool_ready_pods",
		perEndpointQueue: "inference_pool_per_pod_queue_size", endpointLabel: "model_server_pod",
		attemptLabel: "pod_name", kvIndex: "kvcache_index", runningModel: true,
	}
)

// requestLabels are the labels of a request's metrics.
func (n *naming) requestLabels(more ...string) []string {
	l := []string{"model_name", "target_model_name"}
	if n.withFlow {
		l = append(l, "fairness_id")
	}
	return append(append(l, "priority"), more...)
}

// Bucket bounds as the peers have them, so that dashboards keep working.
var (
	durationBuckets = []float64{
		.005, .025, .05, .1, .2, .4, .6, .8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45,
		60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
	}
	perTokenBuckets = []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10}
	decisionBuckets = []float64{.00001, .00002, .00005, .0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5, 10, 30}
	sizeBuckets     = prometheus.ExponentialBuckets(64, 2, 25) // to 1 GiB
	inputBuckets    = append([]float64{1}, prometheus.ExponentialBuckets(8, 2, 18)...)
	outputBuckets   = append([]float64{1}, prometheus.ExponentialBuckets(8, 2, 14)...)
	responseBuckets = append([]float64{1}, prometheus.ExponentialBuckets(8, 2, 18)...)
	ratioBuckets    = []float64{0, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1}
	hitBuckets      = append([]float64{0}, prometheus.ExponentialBuckets(16, 2, 17)...)
)
