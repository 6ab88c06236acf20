package metrics

import (
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// naming is one of the families of names the same numbers appear under.
type naming struct {
	// request, pool and extension are what names of requests', pools' and the picker's
	// own metrics begin with, and stages those of choices for several stages and data
	// about endpoints.
	request, pool, extension, stages string

	requestSize, responseSize               string
	inputTokens, outputTokens, cachedTokens string
	running, ntpot                          string
	readyEndpoints, perEndpointQueue        string
	endpointLabel, attemptLabel             string
	// kvIndex is "" where there were no such metrics under the name.
	kvIndex string
	// The labels of requests' counters, of their failures besides error_code, of the
	// gauge of running ones, of ntpot, and of everything else.
	totalLabels, failedLabels, runningLabels, ntpotLabels, labels []string
	// pluginNames: what a plugin of llm-d's counts has the plugin's name and type.
	pluginNames bool
	// timed has TTFT and TPOT; full has all else that only llm-d's latest names have.
	timed, full bool
}

// Labels of requests.
var (
	byModel    = []string{"model_name"}
	byTarget   = []string{"model_name", "target_model_name"}
	byPriority = []string{"model_name", "target_model_name", "priority"}
	byFlow     = []string{"model_name", "target_model_name", "fairness_id", "priority"}
)

// canonical is llm-d's since 0.10, between what it had for a while before that, and
// legacy the Gateway API Inference Extension's.
var (
	canonical = naming{
		request: "llm_d_epp_request", pool: "llm_d_epp", extension: "llm_d_epp", stages: "llm_d_epp",
		requestSize: "llm_d_epp_request_size_bytes", responseSize: "llm_d_epp_response_size_bytes",
		inputTokens: "llm_d_epp_request_input_tokens", outputTokens: "llm_d_epp_request_output_tokens",
		cachedTokens: "llm_d_epp_request_cached_tokens", running: "llm_d_epp_request_running",
		ntpot: "llm_d_epp_request_ntpot_seconds", readyEndpoints: "llm_d_epp_ready_endpoints",
		perEndpointQueue: "llm_d_epp_per_endpoint_queue_size", endpointLabel: "model_server_endpoint",
		attemptLabel: "endpoint_name", kvIndex: "llm_d_epp_kv_cache_index",
		totalLabels: byFlow, failedLabels: byFlow, runningLabels: byFlow, ntpotLabels: byFlow, labels: byFlow,
		pluginNames: true, timed: true, full: true,
	}
	between = naming{
		request: "llm_d_router_epp_request", pool: "llm_d_router_epp", extension: "llm_d_router_epp", stages: "llm_d_router_epp",
		requestSize: "llm_d_router_epp_request_sizes", responseSize: "llm_d_router_epp_response_sizes",
		inputTokens: "llm_d_router_epp_input_tokens", outputTokens: "llm_d_router_epp_output_tokens",
		cachedTokens: "llm_d_router_epp_prompt_cached_tokens", running: "llm_d_router_epp_running_requests",
		ntpot:            "llm_d_router_epp_normalized_time_per_output_token_seconds",
		readyEndpoints:   "llm_d_router_epp_ready_endpoints",
		perEndpointQueue: "llm_d_router_epp_per_endpoint_queue_size", endpointLabel: "model_server_endpoint",
		attemptLabel: "endpoint_name",
		totalLabels:  byPriority, failedLabels: byTarget, runningLabels: byModel, ntpotLabels: byFlow, labels: byTarget,
		pluginNames: true,
	}
	legacy = naming{
		request: "inference_objective_request", pool: "inference_pool", extension: "inference_extension",
		stages:      "llm_d_inference_scheduler",
		requestSize: "inference_objective_request_sizes", responseSize: "inference_objective_response_sizes",
		inputTokens: "inference_objective_input_tokens", outputTokens: "inference_objective_output_tokens",
		cachedTokens: "inference_objective_prompt_cached_tokens", running: "inference_objective_running_requests",
		ntpot: "inference_objective_normalized_time_per_output_token_seconds", readyEndpoints: "inference_pool_ready_pods",
		perEndpointQueue: "inference_pool_per_pod_queue_size", endpointLabel: "model_server_pod",
		attemptLabel: "pod_name", kvIndex: "kvcache_index",
		totalLabels: byPriority, failedLabels: byTarget, runningLabels: byModel, ntpotLabels: byTarget, labels: byTarget,
		timed: true,
	}
)

// values are a kind's label values.
func (k *kind) values(labels []string, more ...string) []string {
	l := make([]string, 0, len(labels)+len(more))
	for _, name := range labels {
		switch name {
		case "model_name":
			l = append(l, k.model)
		case "target_model_name":
			l = append(l, k.target)
		case "fairness_id":
			l = append(l, k.fairness)
		case "priority":
			l = append(l, strconv.Itoa(k.priority))
		}
	}
	return append(l, more...)
}

// plus are these labels and more.
func plus(labels []string, more ...string) []string { return slices.Concat(labels, more) }

// Bucket bounds as the peers have them, or some more, so that dashboards keep working.
var (
	durationBuckets = []float64{
		.005, .025, .05, .1, .2, .4, .6, .8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45,
		60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
	}
	perTokenBuckets   = []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10}
	tpotBuckets       = []float64{.0005, .00205, .005, .01, .02, .04, .06, .08, .1, .125, .15, .2, .3, .4, .5, .6, .8, 1, 2}
	gapBuckets        = []float64{.001, .005, .01, .02, .04, .06, .08, .1, .15, .2, .3, .5, .75, 1, 2}
	decisionBuckets   = []float64{.00001, .00002, .00005, .0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5, 10, 30}
	processingBuckets = []float64{.0001, .0002, .0005, .001, .002, .005, .01, .015, .025, .04, .06, .1, .25, .5, 1, 2.5, 5, 10, 30}
	responseTimes     = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	streamBuckets     = []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10, 30, 60, 120, 300, 600}
	sizeBuckets       = prometheus.ExponentialBuckets(64, 2, 25) // to 1 GiB
	inputBuckets      = append([]float64{1}, prometheus.ExponentialBuckets(8, 2, 18)...)
	outputBuckets     = append([]float64{1}, prometheus.ExponentialBuckets(8, 2, 14)...)
	responseBuckets   = append([]float64{1}, prometheus.ExponentialBuckets(8, 2, 18)...)
	ratioBuckets      = []float64{0, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1}
	hitBuckets        = append([]float64{0}, prometheus.ExponentialBuckets(16, 2, 17)...)
)
