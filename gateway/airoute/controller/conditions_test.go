package controller

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/internal/test"
)

func say(c metav1.Condition) string {
	return fmt.Sprintf("%s=%s/%s: %s", c.Type, c.Status, c.Reason, c.Message)
}

func problem(condition, reason, field, message string) airoute.Problem {
	return airoute.Problem{Condition: condition, Reason: reason, Field: field, Message: message}
}

// The first problem by field gives the reason, and the message has all.
func TestJudge(t *testing.T) {
	many := []airoute.Problem{}
	for i := range 40 {
		many = append(many, problem(Accepted, "Many", fmt.Sprintf("spec.rules[%d]", i), strings.Repeat("é", 30)))
	}
	for _, c := range []struct {
		name     string
		problems []airoute.Problem
		want     string
	}{
		{"none", nil, "Accepted=True/Accepted: fine"},
		{"of another condition", []airoute.Problem{problem(ResolvedRefs, "X", "spec", "no")}, "Accepted=True/Accepted: fine"},
		{"one", []airoute.Problem{problem(Accepted, "Invalid", "spec.hostnames[0]", "must be a name")},
			"Accepted=False/Invalid: spec.hostnames[0]: must be a name"},
		{"without a field", []airoute.Problem{problem(Accepted, "Invalid", "", "no")}, "Accepted=False/Invalid: no"},
		{"by field", []airoute.Problem{
			problem(Accepted, "Ten", "spec.rules[10].name", "c"), problem(ResolvedRefs, "No", "spec.rules[0]", "x"),
			problem(Accepted, "Two", "spec.rules[2].name", "b"), problem(Accepted, "Rules", "spec.rules", "a"),
		}, "Accepted=False/Rules: spec.rules: a; spec.rules[2].name: b; spec.rules[10].name: c"},
		{"many", many, ""},
		{"long", []airoute.Problem{problem(Accepted, "Long", "spec", strings.Repeat("é", 2000))}, ""},
		{"long, and more", []airoute.Problem{problem(Accepted, "Long", "spec", strings.Repeat("é", 2000)), problem(Accepted, "More", "spec.x", "y")}, ""},
	} {
		f := judge(Accepted, "fine", c.problems)
		got := say(f.condition(Accepted, 3))
		if c.want != "" && got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
		if n := len(f.message); n > maxMessage || !utf8.ValidString(f.message) {
			t.Errorf("%s: %d bytes: %q", c.name, n, f.message)
		}
		if strings.HasPrefix(c.name, "many") && !strings.HasSuffix(f.message, " more") || c.name == "long, and more" && !strings.HasSuffix(f.message, "...; and 1 more") {
			t.Errorf("%s: %q", c.name, f.message[len(f.message)-40:])
		}
	}
}

// backends is a configuration in which all rules of route "default/r" but those named
// lead somewhere.
func backends(rules ...string) *airoute.Config {
	c := &airoute.Config{}
	for _, r := range rules {
		name, without := strings.CutSuffix(r, "-")
		x := airoute.Rule{Name: "default/r/" + name, Groups: [][]airoute.Target{{{Pool: "default/p", Weight: 1}}}}
		if without {
			x.Groups = nil
		}
		c.Rules = append(c.Rules, x)
	}
	return c
}

func parentStatus(gateway, listener string, controller gatewayv1.GatewayController, generation int64, accepted, resolved string) gatewayv1.RouteParentStatus {
	condition := func(kind, reason string) metav1.Condition {
		status := metav1.ConditionFalse
		switch reason {
		case kind:
			status = metav1.ConditionTrue
		case ReasonPending:
			status = metav1.ConditionUnknown
		}
		return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: "said so", ObservedGeneration: generation, LastTransitionTime: metav1.Now()}
	}
	return gatewayv1.RouteParentStatus{
		ParentRef: test.ParentRef(gateway, listener), ControllerName: controller,
		Conditions: []metav1.Condition{condition(Accepted, accepted), condition(ResolvedRefs, resolved)},
	}
}

// Every cause has its reason.
func TestRouteConditions(t *testing.T) {
	good := parentStatus("g", "", EnvoyGateway, 2, Accepted, ResolvedRefs)
	judged := func(p ...gatewayv1.RouteParentStatus) *gatewayv1.HTTPRoute {
		h := test.Route("r")
		h.Generation, h.Status.Parents = 2, p
		return h
	}
	const fine = "Accepted=True ResolvedRefs=True Programmed="
	for _, c := range []struct {
		name    string
		change  func(*facts)
		want    string
		message string // of Programmed
	}{
		{"good", func(*facts) {}, fine + "True/Programmed", "The Gateway serves the route."},
		{"not valid", func(f *facts) {
			f.result.Problems = []airoute.Problem{problem(Accepted, airoute.ReasonUnsupported, "spec", "x")}
			f.httpRoute = nil
		}, "Accepted=False/UnsupportedValue ResolvedRefs=True Programmed=False/NotAccepted", "see condition Accepted"},
		{"conflict", func(f *facts) { f.foreign, f.httpRoute = true, nil },
			"Accepted=False/HTTPRouteConflict ResolvedRefs=True Programmed=False/NotAccepted", ""},
		{"unresolved", func(f *facts) {
			f.result.Problems = []airoute.Problem{problem(ResolvedRefs, airoute.ReasonNotFound, "spec", "x")}
			f.config = backends("a-", "b")
		}, "Accepted=True ResolvedRefs=False/BackendNotFound Programmed=True/Programmed", "without a backend are answered with status 500: a."},
		{"nothing resolved", func(f *facts) {
			f.result.Problems = []airoute.Problem{problem(ResolvedRefs, airoute.ReasonNotPermitted, "spec", "x")}
			f.config = backends("a-", "b-")
		}, "Accepted=True ResolvedRefs=False/RefNotPermitted Programmed=False/NoBackends", "see condition ResolvedRefs"},
		{"not written", func(f *facts) { f.httpRoute = nil }, fine + "Unknown/Pending", "default/r is not written yet"},
		{"refused", func(f *facts) { f.refused = &finding{metav1.ConditionFalse, ReasonHTTPRouteInvalid, "no"} }, fine + "False/HTTPRouteInvalid", "no"},
		{"not judged", func(f *facts) { f.httpRoute = judged() }, fine + "Unknown/Pending", "is there a Gateway of that name"},
		{"judged elsewhere", func(f *facts) { f.httpRoute = judged(parentStatus("h", "", EnvoyGateway, 2, Accepted, ResolvedRefs)) }, fine + "Unknown/Pending", ""},
		{"of a listener only", func(f *facts) {
			f.httpRoute = judged(parentStatus("g", "http", EnvoyGateway, 2, Accepted, ResolvedRefs))
		}, fine + "Unknown/Pending", ""},
		{"judged before", func(f *facts) { f.httpRoute = judged(parentStatus("g", "", EnvoyGateway, 1, Accepted, ResolvedRefs)) }, fine + "Unknown/Pending", "as it is now"},
		{"no listener", func(f *facts) {
			f.httpRoute = judged(parentStatus("g", "", EnvoyGateway, 2, "NoMatchingParent", ResolvedRefs))
		}, fine + "False/NoMatchingParent", "default/r: said so"},
		{"not allowed", func(f *facts) {
			f.httpRoute = judged(parentStatus("g", "", EnvoyGateway, 2, "NotAllowedByListeners", ResolvedRefs))
		}, fine + "False/NotAllowedByListeners", "said so"},
		{"the Gateway waits", func(f *facts) {
			f.httpRoute = judged(parentStatus("g", "", EnvoyGateway, 2, ReasonPending, ResolvedRefs))
		}, fine + "Unknown/Pending", "said so"},
		{"AIRoute unknown", func(f *facts) { f.httpRoute = judged(parentStatus("g", "", EnvoyGateway, 2, Accepted, "InvalidKind")) }, fine + "False/InvalidKind", "backendResources"},
		{"unresolvable", func(f *facts) {
			f.httpRoute = judged(parentStatus("g", "", EnvoyGateway, 2, Accepted, "BackendNotFound"))
		}, fine + "False/BackendNotFound", "said so"},
		{"another controller", func(f *facts) {
			f.httpRoute = judged(parentStatus("g", "", "example.com/other", 2, Accepted, ResolvedRefs))
		}, fine + "False/ForeignGateway", "example.com/other"},
		{"two controllers", func(f *facts) {
			f.httpRoute = judged(good, parentStatus("g", "", "example.com/other", 2, "NoMatchingParent", ResolvedRefs))
		}, fine + "True/Programmed", ""},
	} {
		route := &v1alpha1.AIRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "r", Generation: 7}}
		f := &facts{
			route: route, class: EnvoyGateway, httpRoute: judged(good), config: backends("a", "b"),
			result: &airoute.RouteResult{Name: "default/r", Generation: 7, Rules: []string{"default/r/a", "default/r/b"}},
		}
		c.change(f)
		var got []string
		for _, x := range f.conditions(gatewayv1.ParentReference{Name: "g"}) {
			s := x.Type + "=" + string(x.Status)
			if x.Reason != x.Type || x.Type == Programmed {
				s += "/" + x.Reason
			}
			got = append(got, s)
			if x.ObservedGeneration != 7 || x.Message == "" {
				t.Errorf("%s: %+v", c.name, x)
			}
			if x.Type == Programmed && !strings.Contains(x.Message, c.message) {
				t.Errorf("%s: message %q, want %q", c.name, x.Message, c.message)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

// credentialState is what is known of one backend's credentials.
type credentialState struct {
	ready           bool
	reason, message string
	known           bool
}

func (c credentialState) State(backend string) (bool, string, string, bool) {
	if backend != "default/b" {
		return false, "", "", false
	}
	return c.ready, c.reason, c.message, c.known
}

func TestBackendConditions(t *testing.T) {
	key := &v1alpha1.Credentials{Type: v1alpha1.CredentialsAPIKey}
	const fine = "Accepted=True/Accepted ResolvedRefs=True/ResolvedRefs "
	for _, c := range []struct {
		name        string
		credentials *v1alpha1.Credentials
		state       credentialState
		unused      bool
		problems    []airoute.Problem
		want        string
	}{
		{"without credentials", nil, credentialState{}, false, nil, fine + "Programmed=True/Programmed CredentialsReady=True/NotRequired"},
		{"of the client", &v1alpha1.Credentials{Type: v1alpha1.CredentialsFromRequestHeader}, credentialState{}, false, nil, fine + "Programmed=True/Programmed CredentialsReady=True/NotRequired"},
		{"not used", key, credentialState{}, true, nil, fine + "Programmed=False/NotUsed CredentialsReady=Unknown/Pending"},
		{"not known", key, credentialState{}, false, nil, fine + "Programmed=True/Programmed CredentialsReady=Unknown/Pending"},
		{"ready", key, credentialState{true, "Ready", "until noon", true}, false, nil, fine + "Programmed=True/Programmed CredentialsReady=True/Ready"},
		{"without a reason", key, credentialState{true, "", "", true}, false, nil, fine + "Programmed=True/Programmed CredentialsReady=True/CredentialsReady"},
		{"failed", key, credentialState{false, "TokenRefused", "no", true}, false, nil, fine + "Programmed=True/Programmed CredentialsReady=False/TokenRefused"},
		{"no reason at all", key, credentialState{false, "not a reason", "no", true}, false, nil, fine + "Programmed=True/Programmed CredentialsReady=False/NotReady"},
		{"no Secret", key, credentialState{}, true, []airoute.Problem{problem(ResolvedRefs, airoute.ReasonSecret, "spec", "x")},
			"Accepted=True/Accepted ResolvedRefs=False/SecretNotFound Programmed=False/NotUsed CredentialsReady=False/SecretNotFound"},
		{"not valid", nil, credentialState{}, true, []airoute.Problem{problem(Accepted, airoute.ReasonNotTranslatable, "spec", "x")},
			"Accepted=False/UntranslatableSchema ResolvedRefs=True/ResolvedRefs Programmed=False/NotUsed CredentialsReady=True/NotRequired"},
	} {
		b := &v1alpha1.AIBackend{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b", Generation: 3}, Spec: v1alpha1.AIBackendSpec{Credentials: c.credentials}}
		var got []string
		for _, x := range backendConditions(b, &airoute.BackendResult{Used: !c.unused, Problems: c.problems}, c.state) {
			got = append(got, fmt.Sprintf("%s=%s/%s", x.Type, x.Status, x.Reason))
			if x.ObservedGeneration != 3 {
				t.Errorf("%s: %+v", c.name, x)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

// Entries of others stay, ours that are not wanted go, and dates stay.
func TestMerge(t *testing.T) {
	then, now := metav1.Unix(1, 0), metav1.Unix(2, 0)
	entry := func(controller, gateway string, date metav1.Time, status metav1.ConditionStatus) gatewayv1.RouteParentStatus {
		return gatewayv1.RouteParentStatus{
			ParentRef: gatewayv1.ParentReference{Name: gatewayv1.ObjectName(gateway)}, ControllerName: gatewayv1.GatewayController(controller),
			Conditions: []metav1.Condition{{Type: Accepted, Status: status, LastTransitionTime: date}},
		}
	}
	existing := []gatewayv1.RouteParentStatus{
		entry("other", "a", then, "True"), entry(ControllerName, "gone", then, "True"),
		entry(ControllerName, "b", then, "True"), entry(ControllerName, "b", then, "True"),
		entry(ControllerName, "c", then, "True"),
	}
	wanted := []gatewayv1.RouteParentStatus{
		entry(ControllerName, "a", now, "True"), entry(ControllerName, "b", now, "True"), entry(ControllerName, "c", now, "False"),
	}
	var got []string
	for _, p := range mergeParents("default", existing, wanted, now) {
		c := p.Conditions[0]
		got = append(got, fmt.Sprintf("%s %s %s %d", p.ControllerName, p.ParentRef.Name, c.Status, c.LastTransitionTime.Unix()))
	}
	const want = "other a True 1, fairway.dev/gateway-controller b True 1, fairway.dev/gateway-controller c False 2, fairway.dev/gateway-controller a True 2"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
	var full []gatewayv1.RouteParentStatus
	for i := range 31 {
		full = append(full, entry("other", fmt.Sprint(i), then, "True"))
	}
	if n := len(mergeParents("default", full, wanted, now)); n != 32 {
		t.Errorf("%d entries", n)
	}
	conditions := mergeConditions([]metav1.Condition{{Type: "Other"}, {Type: Accepted, Status: "True", LastTransitionTime: then}},
		[]metav1.Condition{{Type: Accepted, Status: "True"}, {Type: Programmed, Status: "True"}}, now)
	if len(conditions) != 3 || conditions[0].Type != "Other" || conditions[1].LastTransitionTime != then || conditions[2].LastTransitionTime != now {
		t.Errorf("%+v", conditions)
	}
	same := distinct("default", []gatewayv1.ParentReference{{Name: "a"}, {Name: "a", Namespace: new(gatewayv1.Namespace("default"))}, {Name: "b"}})
	if len(same) != 2 {
		t.Errorf("%+v", same)
	}
}

// Only what is different between two results is looked at.
func TestDifferent(t *testing.T) {
	n := test.Name
	result := func(hash string, names ...string) *airoute.Result {
		r := &airoute.Result{Routes: map[types.NamespacedName]*airoute.RouteResult{}}
		for _, name := range names {
			r.Routes[n(name)] = &airoute.RouteResult{Name: name, Hash: hash}
		}
		return r
	}
	if got := different(result("1", "a", "b"), result("1", "a", "b")); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if got := different(result("1", "a", "b"), result("1", "b", "c")); len(got) != 2 {
		t.Errorf("%v", got)
	}
	if got := different(result("1", "a", "b"), result("2", "a", "b")); len(got) != 2 {
		t.Errorf("%v", got)
	}
	for s, want := range map[string]bool{"a/b": true, "a/": false, "/b": false, "a": false} {
		if _, ok := parse(s); ok != want {
			t.Errorf("%q is a name: %v", s, ok)
		}
	}
}
