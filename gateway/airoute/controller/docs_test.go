package controller

import (
	"os"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/gateway/airoute"
)

// The documentation explains every reason, every metric, and whose the entries are.
func TestDocs(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/status-ai.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []string{
		ControllerName, HashAnnotation, ReasonPending, ReasonHTTPRouteConflict, ReasonHTTPRouteInvalid, ReasonHTTPRouteForbidden,
		ReasonNotAccepted, ReasonNoBackends, ReasonForeignGateway, ReasonNotUsed, ReasonNotRequired, ReasonNotReady,
		airoute.ReasonInvalid, airoute.ReasonUnsupported, airoute.ReasonNotTranslatable, airoute.ReasonNotFound,
		airoute.ReasonNotPermitted, airoute.ReasonInvalidKind, airoute.ReasonBackend, airoute.ReasonSecret,
		airoute.ReasonCertificate, airoute.ReasonIdentity,
		"fairway_airoute_status", "fairway_aibackend_status", "fairway_airoute_reconciles_total", "fairway_airoute_writes_total",
	} {
		if !strings.Contains(string(doc), "`"+w+"`") && !strings.Contains(string(doc), w+"`") {
			t.Errorf("docs/status-ai.md lacks %s", w)
		}
	}
}
