package charts

import (
	"encoding/json"
	"iter"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/yaml"

	"github.com/fairway-ai/fairway/gateway/egress"
)

// expression is a PromQL expression and where it stands.
type expression struct{ where, query string }

// expressions are those of the dashboard and of the alerts.
func expressions(t *testing.T) []expression {
	t.Helper()
	var all []expression
	var board struct {
		Templating struct {
			List []struct {
				Name       string
				Definition string
			}
		}
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readFile(t, chart+"/files/dashboard.json")), &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all = append(all, expression{"panel " + p.Title, target.Expr})
		}
	}
	for _, v := range board.Templating.List {
		if v.Definition != "" {
			all = append(all, expression{"variable " + v.Name, v.Definition})
		}
	}
	var alerts struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal([]byte(readFile(t, chart+"/files/alerts.yaml")), &alerts); err != nil {
		t.Fatal(err)
	}
	for _, g := range alerts.Groups {
		for _, r := range g.Rules {
			all = append(all, expression{"alert " + r.Alert, r.Expr})
		}
	}
	if len(all) < 30 {
		t.Fatalf("only %d expressions were found", len(all))
	}
	return all
}

// exported are the metrics that a test of package metrics finds exported, with their
// type and labels.
func exported(t *testing.T) map[string]struct {
	kind   string
	labels []string
} {
	t.Helper()
	all := map[string]struct {
		kind   string
		labels []string
	}{}
	line := regexp.MustCompile(`^(\S+) (\S+) \{(.*)\}$`)
	// Of what is registered here, only the descriptions tell; all are counters or gauges.
	for d := range described(t) {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %v", d)
		}
		kind := "gauge"
		if strings.HasSuffix(m[1], "_total") {
			kind = "counter"
		}
		all[m[1]] = struct {
			kind   string
			labels []string
		}{kind, strings.Split(m[2], ",")}
	}
	for l := range strings.Lines(readFile(t, "../epp/metrics/testdata/names.txt")) {
		m := line.FindStringSubmatch(strings.TrimSpace(l))
		if m == nil {
			t.Fatalf("cannot read %q", l)
		}
		all[m[1]] = struct {
			kind   string
			labels []string
		}{m[2], strings.Split(m[3], ",")}
	}
	return all
}

// described are the metrics of backends.
func described(t *testing.T) iter.Seq[*prometheus.Desc] {
	t.Helper()
	r := &descriptions{}
	if _, err := egress.NewMetrics(r); err != nil {
		t.Fatal(err)
	}
	if err := r.Register(egress.NewCooling(nil)); err != nil {
		t.Fatal(err)
	}
	return slices.Values(r.all)
}

// descriptions is a Registerer that keeps what collectors say of themselves.
type descriptions struct {
	prometheus.Registerer
	all []*prometheus.Desc
}

func (r *descriptions) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc, 16)
	c.Describe(ch)
	close(ch)
	for d := range ch {
		r.all = append(r.all, d)
	}
	return nil
}

var (
	description = regexp.MustCompile(`fqName: "([a-z_]+)".* variableLabels: \{([a-z_,]*)\}`)
	metricName  = regexp.MustCompile(`\b(?:llm_d_epp|fairway_backend)_[a-z0-9_]+`)
	matcher     = regexp.MustCompile(`([a-z_]+)(?:=~|!~|!=|=)"`)
	grouping    = regexp.MustCompile(`\bby \(([^)]*)\)`)
)

// TestExpressionsUseExportedMetrics: a panel or an alert over a metric or a label that
// does not exist would be empty for ever, and nobody would notice.
func TestExpressionsUseExportedMetrics(t *testing.T) {
	known := exported(t)
	for _, e := range expressions(t) {
		// Labels that a scrape adds, or the histogram's own.
		labels := map[string]bool{"le": true, "pod": true, "job": true}
		for _, name := range metricName.FindAllString(e.query, -1) {
			family, suffix := name, ""
			for _, s := range []string{"_bucket", "_sum", "_count"} {
				if base, ok := strings.CutSuffix(name, s); ok && known[base].kind == "histogram" {
					family, suffix = base, s
				}
			}
			m, ok := known[family]
			if !ok {
				t.Errorf("%s: %s is not exported", e.where, name)
			}
			if m.kind == "histogram" && suffix == "" || m.kind == "counter" && !strings.Contains(e.query, "rate(") && !strings.Contains(e.query, "label_values") {
				t.Errorf("%s: %s is a %s and not used as one", e.where, name, m.kind)
			}
			for _, l := range m.labels {
				labels[l] = true
			}
		}
		var used []string
		for _, m := range matcher.FindAllStringSubmatch(e.query, -1) {
			used = append(used, m[1])
		}
		for _, m := range grouping.FindAllStringSubmatch(e.query, -1) {
			used = append(used, strings.Split(m[1], ", ")...)
		}
		for _, l := range used {
			if !labels[l] {
				t.Errorf("%s: no metric there has a label %s", e.where, l)
			}
		}
		if strings.Count(e.query, "(") != strings.Count(e.query, ")") {
			t.Errorf("%s: unbalanced parentheses in %s", e.where, e.query)
		}
	}
}

// TestInferencePoolCRDIsVerbatim holds the copy to the module that this one requires.
func TestInferencePoolCRDIsVerbatim(t *testing.T) {
	const module, file = "sigs.k8s.io/gateway-api-inference-extension", "inference.networking.k8s.io_inferencepools.yaml"
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}\n{{.Version}}", module).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	dir, version, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if readFile(t, dir+"/config/crd/bases/"+file) != readFile(t, chart+"/charts/inference-crds/crds/"+file) {
		t.Error("it is not that of the module")
	}
	var meta struct{ Version, AppVersion string }
	if err := yaml.Unmarshal([]byte(readFile(t, chart+"/charts/inference-crds/Chart.yaml")), &meta); err != nil {
		t.Fatal(err)
	}
	if meta.AppVersion != version || "v"+meta.Version != version {
		t.Errorf("the chart of the CRD says %+v, the module is %s", meta, version)
	}
}

// TestOwnCRDs: they are in the templates, so that an upgrade changes them, and are kept
// when the release goes, and with them every object.
func TestOwnCRDs(t *testing.T) {
	o := mustRender(t, "")
	for _, kind := range []string{"airoutes", "aibackends", "aiaccesspolicies"} {
		u := o.get(t, "CustomResourceDefinition/"+kind+".fairway.dev")
		if u.GetAnnotations()["helm.sh/resource-policy"] != "keep" || u.GetLabels()["app.kubernetes.io/part-of"] != "fairway" {
			t.Errorf("%s has metadata %v", kind, u.Object["metadata"])
		}
		file := decode(t, readFile(t, chart+"/files/crds/fairway.dev_"+kind+".yaml")).get(t, "CustomResourceDefinition/"+kind+".fairway.dev")
		if !equality.Semantic.DeepEqual(u.Object["spec"], file.Object["spec"]) {
			t.Errorf("%s is not what was generated", kind)
		}
		if without := mustRender(t, "crds: {install: false}"); without["CustomResourceDefinition/"+kind+".fairway.dev"] != nil {
			t.Errorf("%s is there unasked", kind)
		}
	}
}

// TestCRDIsInstalledOnlyWhenAsked: most clusters have it already.
func TestCRDIsInstalledOnlyWhenAsked(t *testing.T) {
	const key = "CustomResourceDefinition/inferencepools.inference.networking.k8s.io"
	if mustRender(t, "", "--include-crds")[key] != nil {
		t.Error("it is rendered by default")
	}
	mustRender(t, "crds: {inference: {enabled: true}}", "--include-crds").get(t, key)
}

// TestMissingInferencePools: instead of pods that wait for what does not come, an error
// that says what to do, where the cluster can be seen.
func TestMissingInferencePools(t *testing.T) {
	const enabled = "crds: {inference: {enabled: true}}"
	gateway, pools := []string{"--api-versions", "gateway.networking.k8s.io/v1"}, []string{"--api-versions", "inference.networking.k8s.io/v1"}
	for _, tt := range []struct {
		name, values string
		args         []string
		want         string
	}{
		{"no cluster", "", nil, ""},
		{"first installation", "", gateway, "add --set crds.inference.enabled=true"},
		{"first installation that brings them", enabled, gateway, ""},
		{"upgrade", "", append(gateway, "--is-upgrade"), "kubectl apply --server-side"},
		{"upgrade that cannot bring them", enabled, append(gateway, "--is-upgrade"), "kubectl apply --server-side"},
		{"installed", "", append(pools, gateway...), ""},
	} {
		_, err := render(t, tt.values, tt.args...)
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
