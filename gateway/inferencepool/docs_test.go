package inferencepool

import (
	"os"
	"strings"
	"testing"

	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
)

// The documentation explains every reason, every metric, and whose the entries are.
func TestDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/status.md")
	if err != nil {
		t.Fatal(err)
	}
	words := []string{ControllerName, reasonDetached, "fairway_inferencepool_parents", "fairway_inferencepool_reconciles_total", "fairway_inferencepool_status_writes_total"}
	for _, r := range []inferencev1.InferencePoolReason{
		inferencev1.InferencePoolReasonAccepted, inferencev1.InferencePoolReasonHTTPRouteNotAccepted,
		inferencev1.InferencePoolReasonNotSupportedByParent, reasonPending,
		inferencev1.InferencePoolReasonResolvedRefs, inferencev1.InferencePoolReasonInvalidExtensionRef,
		inferencev1.InferencePoolReasonNotSupported,
	} {
		words = append(words, string(r))
	}
	for _, w := range words {
		if !strings.Contains(string(doc), "`"+w+"`") && !strings.Contains(string(doc), w+"`") {
			t.Errorf("docs/status.md lacks %s", w)
		}
	}
}
