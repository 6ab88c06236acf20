package imports

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/fairway-ai/fairway/"

// layers lists, for each room, the rooms it may use besides itself. "internal"
// may be used by all.
var layers = map[string][]string{
	"api":       {},
	"scheduler": {"api"},
	"pool":      {"scheduler", "api"},
	"extproc":   {"scheduler", "api"},
	"epp":       {"extproc", "pool", "scheduler", "api"},
	"aibackend": {"api"},
	"gateway":   {"aibackend", "epp", "extproc", "pool", "scheduler", "api"},
	"sim":       {"scheduler", "api"},
	"cmd":       {"gateway", "aibackend", "epp", "extproc", "pool", "scheduler", "api", "sim", "bench", "conformance"},
	// The suite judges any picker, and therefore uses none of ours.
	"conformance": {},
	"bench":       {"gateway", "aibackend", "epp", "extproc", "pool", "scheduler", "api", "sim"},
}

// pure lists what package scheduler must not use, even indirectly.
var pure = []string{"net", "os", "net/http", "k8s.io/", "github.com/envoyproxy/", "google.golang.org/grpc"}

func TestDependenciesPointOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := 0
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		fields := strings.Fields(line)
		from := room(fields[0])
		allowed, known := layers[from]
		if !known {
			continue
		}
		seen++
		for _, imported := range fields[1:] {
			if !strings.HasPrefix(imported, module) {
				if from == "scheduler" {
					for _, p := range pure {
						if imported == strings.TrimSuffix(p, "/") || strings.HasSuffix(p, "/") && strings.HasPrefix(imported, p) {
							t.Errorf("%s imports %s: the scheduler is pure", fields[0], imported)
						}
					}
				}
				continue
			}
			to := room(imported)
			if to == from || to == "internal" {
				continue
			}
			ok := false
			for _, a := range allowed {
				ok = ok || a == to
			}
			if !ok {
				t.Errorf("%s imports %s: %s may use only %v", fields[0], imported, from, allowed)
			}
		}
	}
	if seen < 10 {
		t.Errorf("only %d packages were checked", seen)
	}
}

// room is the top folder of an import path in this module.
func room(path string) string {
	top, _, _ := strings.Cut(strings.TrimPrefix(path, module), "/")
	return top
}
