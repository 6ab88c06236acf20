package e2e

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// outage is how long the API server does not answer.
const outage = 60 * time.Second

// notOurs is the exit status of hack/cluster for what it may not do to a cluster that
// is not its own.
const notOurs = 3

// apiServer stops the API server or lets it go on.
func apiServer(t *testing.T, verb string) {
	t.Helper()
	out, err := exec.Command("../../hack/cluster", "apiserver", verb).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == notOurs {
		t.Skip(strings.TrimSpace(string(out)))
	}
	if err != nil {
		t.Fatalf("API server, %s: %v\n%s", verb, err, out)
	}
}

// TestAPIServerOutage takes the API server away for a minute, under load: the last
// state is served, and no request fails. It is the last test, because everything else
// in the cluster takes its time to recover: Envoy Gateway may hear half a minute late
// of what is changed right after.
func TestAPIServerOutage(t *testing.T) {
	s := start(t, "pool-with-picker.yaml")
	mustBeFlawless(t, s.under(t, func() {
		apiServer(t, "stop")
		t.Cleanup(func() { apiServer(t, "continue") })
		time.Sleep(outage)
		apiServer(t, "continue")
	}))
}
