// Package e2e tests Fairway as it is installed in a cluster: every example for
// Kubernetes answers, no request fails while a part of the system is updated, killed or
// replaced, prompts go to who has them cached, and only those may call who are allowed.
//
// The tests need a cluster with Fairway in it: `hack/conformance install` makes both,
// with conformance/fairway-values.yaml.
// KUBECONFIG names it; without it the tests are skipped, or fail when FAIRWAY_E2E is
// set. They must run where the Gateway's address can be reached. They use nothing of
// Fairway's own code: only the Kubernetes API and HTTP. The package holds only tests.
//
//	KUBECONFIG              the cluster
//	FAIRWAY_E2E             set: fail instead of skipping
//	FAIRWAY_E2E_IMAGE       image to put in the examples (fairway:dev)
//	FAIRWAY_E2E_NAMESPACE   where Fairway is installed (fairway-system)
package e2e
