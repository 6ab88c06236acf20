package egress

import (
	"errors"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/accesspolicy"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// behindPolicy is rules behind a policy for listener https of Gateway ns/gw: red agents may
// call m.
func behindPolicy() *airoute.Config {
	x := &v1alpha1.AIAccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: v1alpha1.AIAccessPolicySpec{
		TargetRef: gatewayv1.LocalPolicyTargetReferenceWithSectionName{
			LocalPolicyTargetReference: gatewayv1.LocalPolicyTargetReference{Group: gatewayv1.GroupName, Kind: "Gateway", Name: "gw"},
			SectionName:                new(gatewayv1.SectionName("https")),
		},
		Trust: v1alpha1.AccessTrust{TrustDomain: "d"},
		Rules: []v1alpha1.AccessRule{{
			Identities: []v1alpha1.IdentityMatch{{Type: v1alpha1.ModelMatchPrefix, Value: "spiffe://d/red/"}},
			Models:     []v1alpha1.ModelMatch{{Value: "m"}},
		}},
	}}
	c := scoped()
	c.Access, _ = accesspolicy.Compile([]*v1alpha1.AIAccessPolicy{x})
	return c
}

func TestAccess(t *testing.T) {
	at := accesspolicy.Target{Gateway: types.NamespacedName{Namespace: "ns", Name: "gw"}, Section: "https"}
	other := at
	other.Section = "http"
	const red = "By=spiffe://d/gateway;Hash=a;URI=spiffe://d/red/agent"
	for _, tt := range []struct {
		name, pool, header, model string
		status                    int // 0 for a request that passes
		code                      string
	}{
		{"allowed", accesspolicy.Mark("routes:ns/a", at, true), red, "m", 0, ""},
		{"allowed, a rule", accesspolicy.Mark("rule:httproute/ns/h/0", at, true), red, "m", 0, ""},
		{"another model", accesspolicy.Mark("routes:ns/a", at, true), red, "only-a", 403, "model_not_allowed"},
		{"another model, a rule", accesspolicy.Mark("rule:httproute/ns/h/0", at, true), red, "only-a", 403, "model_not_allowed"},
		{"a model that is not there", accesspolicy.Mark("routes:ns/a", at, true), red, "made-up", 403, "model_not_allowed"},
		{"no model", accesspolicy.Mark("routes:ns/a", at, true), red, "", 403, "model_not_allowed"},
		{"another identity", accesspolicy.Mark("routes:ns/a", at, true), "URI=spiffe://d/blue/agent", "m", 403, "model_not_allowed"},
		{"another trust domain", accesspolicy.Mark("routes:ns/a", at, true), "URI=spiffe://e/red/agent", "m", 403, "client_certificate_required"},
		{"no certificate", accesspolicy.Mark("routes:ns/a", at, true), "", "m", 403, "client_certificate_required"},
		{"a client's own word", accesspolicy.Mark("routes:ns/a", at, false), red, "m", 403, "client_certificate_required"},
		{"not known here", accesspolicy.Mark("routes:ns/a", other, true), red, "m", 503, "access_policy_not_known"},
		{"a broken mark", "routes:ns/a;gateway=x", red, "m", 503, "access_policy_not_known"},
		{"not guarded", "routes:ns/a", "", "m", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &picker{}
			r := &Router{Next: p}
			r.SetRules(behindPolicy())
			q := extproc.NewRequest(headers(accesspolicy.Header, tt.header), nil)
			q.Pool, q.Path, q.Body.Model = tt.pool, "/v1/chat/completions", tt.model
			_, err := r.Pick(t.Context(), q)
			if tt.status == 0 {
				if err != nil || len(p.asked) != 1 {
					t.Errorf("%v", err)
				}
				return
			}
			var no *extproc.Rejection
			if !errors.As(err, &no) || no.Status != tt.status || no.Code != tt.code || len(p.asked) > 0 {
				t.Fatalf("%v", err)
			}
			if strings.Contains(no.Message, "only-b") {
				t.Errorf("%s tells what there is", no.Message)
			}
		})
	}
	r := &Router{Next: &picker{}}
	q := extproc.NewRequest(headers(accesspolicy.Header, red), nil)
	q.Pool = accesspolicy.Mark("routes:ns/a", at, true)
	var no *extproc.Rejection
	if _, err := r.Pick(t.Context(), q); !errors.As(err, &no) || no.Status != 503 {
		t.Errorf("before the rules are known: %v", err)
	}
}

// TestAccessToRenamed: who may call a model may not have a picker send the request for
// another one.
func TestAccessToRenamed(t *testing.T) {
	at := accesspolicy.Target{Gateway: types.NamespacedName{Namespace: "ns", Name: "gw"}, Section: "https"}
	for _, name := range []string{"x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite"} {
		for target, allowed := range map[string]bool{"m": true, "": true, "only-a": false, "m only-a": false} {
			p := &picker{}
			r := &Router{Next: p}
			r.SetRules(behindPolicy())
			sent := headers(accesspolicy.Header, "URI=spiffe://d/red/agent")
			for value := range strings.SplitSeq(target, " ") {
				sent = append(sent, extproc.Header{Name: name, Value: value})
			}
			q := extproc.NewRequest(sent, nil)
			q.Pool, q.Path, q.Body.Model = accesspolicy.Mark("routes:ns/a", at, true), "/v1/chat/completions", "m"
			_, err := r.Pick(t.Context(), q)
			var no *extproc.Rejection
			switch {
			case allowed && (err != nil || len(p.asked) != 1):
				t.Errorf("%s: %q is refused: %v", name, target, err)
			case !allowed && (!errors.As(err, &no) || no.Code != "model_not_allowed" || len(p.asked) > 0):
				t.Errorf("%s: %q is called for %q: %v", name, target, "m", err)
			}
		}
	}
}

// TestIdentityIsCounted: limits for each SPIFFE ID count the one that was proven.
func TestIdentityIsCounted(t *testing.T) {
	at := accesspolicy.Target{Gateway: types.NamespacedName{Namespace: "ns", Name: "gw"}, Section: "https"}
	r, _ := limitedRouter(t, airoute.Rule{
		Groups: [][]airoute.Target{{{Pool: "p"}}},
		Limits: []airoute.Limit{{Type: v1alpha1.LimitRequests, Max: 1, Period: 3600e9, Per: v1alpha1.LimitPerSPIFFEID}},
	}, &picker{})
	c := &airoute.Config{Rules: r.rules.Load().Rules, Access: behindPolicy().Access}
	r.SetRules(c)
	ask := func(id string) bool {
		q := extproc.NewRequest(headers(accesspolicy.Header, "URI=spiffe://d/red/"+id), nil)
		q.Pool, q.Path, q.Body.Model = accesspolicy.Mark("routes:ns/r", at, true), "/v1/chat/completions", "m"
		_, err := r.Pick(t.Context(), q)
		return err == nil
	}
	if !ask("a") || ask("a") || !ask("b") {
		t.Error("identities are not counted apart")
	}
}
