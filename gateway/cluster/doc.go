// Package cluster is the process fairway gateway: it joins a Kubernetes cluster, in
// which Envoy Gateway turns Gateways and HTTPRoutes into Envoy's configuration, with
// the parts of Fairway that add inference pools to it.
//
// Every replica
//
//   - watches InferencePools and their pods (package pool/kube), and serves each
//     pool's endpoints to Envoy (package gateway/eds);
//   - follows the EndpointSlices of Services that AIBackends have an endpointPicker for,
//     and serves their endpoints in the same way;
//   - answers Envoy Gateway's translation hook, which puts pools' clusters, routes
//     and the ext_proc filter into Envoy's configuration (package
//     gateway/envoygateway);
//   - is the ext_proc server behind that filter: for a pool without an
//     endpointPickerRef it picks the endpoint itself (package epp), for any other it
//     consults the pool's own picker (package extproc/relay).
//
// The leader alone writes InferencePool status (package gateway/inferencepool).
//
// Nothing here decides about a request, builds Envoy configuration or speaks a
// protocol: the packages named above do. Caller: cmd/fairway.
package cluster
