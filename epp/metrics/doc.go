// Package metrics is what the endpoint picker tells Prometheus: llm-d's metric
// names (subsystem llm_d_epp) and, when asked, those that it had before
// (llm_d_router_epp, llm_d_inference_scheduler) and those of the Gateway API Inference
// Extension before it (inference_objective, inference_pool, inference_extension).
//
// Counters of one kind of request are resolved once and kept, so that counting a
// request allocates nothing and takes no lock, neither of this package nor of the
// registry: only the first request of a kind does. Values that clients choose are bounded: at most
// [MaxLabelValues] per label and [MaxRequestKinds] combinations, the rest counts
// as "other". What can be read off the pools is read when somebody scrapes.
//
// The package keeps its own registry and must never use a global one, nor block
// or fail a request. Caller: package epp.
package metrics
