// Package kubeauth lets a cluster decide who may read an HTTP endpoint: a TokenReview
// says whose the bearer token of a request is, a SubjectAccessReview whether they may
// have the path. Prometheus and Kubernetes' own components ask like that.
//
// The package must never let a request pass that the cluster did not allow, whatever
// fails, and never log a token. Caller: cmd/fairway.
package kubeauth
