package accesspolicy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

func TestIdentity(t *testing.T) {
	const id = "spiffe://example.org/ns/red/sa/agent"
	for _, tt := range []struct{ header, want string }{
		{"URI=" + id, id},
		{"By=spiffe://example.org/gateway;Hash=ab12;URI=" + id, id},
		{`By=x;Hash=y;Subject="CN=a\",O=b;c";URI=` + id + ";DNS=a.example", id},
		{`Subject="URI=spiffe://example.org/admin";URI=` + id, id},
		{`uri="` + id + `"`, id},
		{"", ""},
		{"By=" + id, ""},                  // the gateway's own
		{"Hash=y;URI=", ""},               // a certificate without URIs
		{"URI=" + id + ";URI=" + id, ""},  // SPIFFE wants exactly one
		{"URI=" + id + ",URI=" + id, ""},  // of two proxies
		{"Hash=a,By=b;URI=" + id, ""},     //
		{"URI=" + id + ";X=y", ""},        //
		{"URI=" + id + ";", ""},           //
		{`URI="` + id, ""},                //
		{`URI="` + id + `"x`, ""},         //
		{"URI=spiffe://other.org/a", ""},  //
		{"URI=spiffe://example.org", ""},  // a trust domain is no workload
		{"URI=spiffe://example.org/", ""}, //
		{"URI=spiffe://example.org/a//b", ""},
		{"URI=spiffe://example.org/a/../b", ""},
		{"URI=spiffe://example.org/a%2fb", ""},
		{"URI=spiffe://example.org.evil/a", ""},
		{"URI=SPIFFE://example.org/a", ""},
		{"URI=https://example.org/a", ""},
		{"URI=spiffe://example.org/" + strings.Repeat("a", maxID), ""},
		{strings.Repeat("Hash=a;", maxHeader) + "URI=" + id, ""},
	} {
		got, err := Identity(tt.header, "example.org")
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%.200q: %q, %v", tt.header, got, err)
		}
	}
}

func FuzzIdentity(f *testing.F) {
	f.Add(`By=x;Hash=y;Subject="CN=a\",O=b";URI=spiffe://d/a;DNS=z`)
	f.Add("URI=spiffe://d/a,URI=spiffe://d/b")
	f.Fuzz(func(t *testing.T, header string) {
		id, err := Identity(header, "d")
		if err == nil && (!strings.HasPrefix(id, "spiffe://d/") || strings.ContainsAny(id, " ,;\"\n%")) {
			t.Errorf("%q is %q", header, id)
		}
	})
}

// authority is a certificate in DER.
func authority(t testing.TB, from, until time.Time, ca bool) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a"}, NotBefore: from, NotAfter: until,
		IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestParseBundle(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	valid := authority(t, now.Add(-time.Hour), now.Add(time.Hour), true)
	longer := authority(t, now.Add(-time.Hour), now.Add(3*time.Hour), true)
	expired := authority(t, now.Add(-time.Hour), now, true)
	future := authority(t, now.Add(time.Hour), now.Add(9*time.Hour), true)
	leaf := authority(t, now.Add(-time.Hour), now.Add(time.Hour), false)
	asPEM := func(all ...[]byte) string {
		var b strings.Builder
		for _, der := range all {
			_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der})
		}
		return b.String()
	}
	key := func(use string, all ...[]byte) string {
		var x5c []string
		for _, der := range all {
			x5c = append(x5c, `"`+base64.StdEncoding.EncodeToString(der)+`"`)
		}
		return fmt.Sprintf(`{"use": %q, "kty": "EC", "x5c": [%s]}`, use, strings.Join(x5c, ","))
	}
	asJSON := func(keys ...string) string {
		return `{"spiffe_sequence": 1, "keys": [` + strings.Join(keys, ",") + `]}`
	}
	for name, tt := range map[string]struct {
		in, pem, err string
		valid        int
		expires      time.Duration
	}{
		"PEM":                        {in: asPEM(valid), pem: asPEM(valid), valid: 1, expires: time.Hour},
		"PEM with text":              {in: "# a\n" + asPEM(valid, longer, valid), pem: asPEM(valid, longer), valid: 2, expires: 3 * time.Hour},
		"SPIFFE":                     {in: asJSON(key("x509-svid", valid), key("jwt-svid")), pem: asPEM(valid), valid: 1, expires: time.Hour},
		"an expired one is left out": {in: asPEM(expired, valid), pem: asPEM(valid), valid: 1, expires: time.Hour},
		"one to come is kept":        {in: asPEM(valid, future), pem: asPEM(valid, future), valid: 1, expires: time.Hour},
		"only one to come":           {in: asPEM(future), err: "no certificate of an authority that is valid"},
		"only expired":               {in: asPEM(expired), err: "no certificate of an authority that is valid"},
		"a workload's":               {in: asPEM(leaf), err: "is not one of an authority"},
		"nothing":                    {in: " ", err: "neither"},
		"a key":                      {in: "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", err: "not a certificate"},
		"not a certificate":          {in: "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n", err: "certificate 1 cannot be read"},
		"bad JSON":                   {in: `{"keys": `, err: "not a SPIFFE bundle"},
		"no keys":                    {in: asJSON(key("jwt-svid")), err: "no key of use x509-svid"},
		"a chain":                    {in: asJSON(key("x509-svid", valid, longer)), err: "keys[0] must have one"},
		"not base64":                 {in: `{"keys": [{"use": "x509-svid", "x5c": ["secret!"]}]}`, err: "keys[0].x5c[0] is not base64"},
		"too long":                   {in: strings.Repeat(" ", maxBundle+1), err: "longer than"},
		"too many":                   {in: strings.Repeat(asPEM(valid), maxAuthorities+1), err: "more than"},
	} {
		b, err := ParseBundle([]byte(tt.in), now)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || string(b.PEM) != tt.pem || b.Valid != tt.valid || !b.Expires.Equal(now.Add(tt.expires)) {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
	}
}

func FuzzParseBundle(f *testing.F) {
	now := time.Now()
	der := authority(f, now.Add(-time.Hour), now.Add(time.Hour), true)
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	f.Add([]byte(`{"keys":[{"use":"x509-svid","x5c":["` + base64.StdEncoding.EncodeToString(der) + `"]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if b, err := ParseBundle(data, now); err == nil && !x509.NewCertPool().AppendCertsFromPEM(b.PEM) {
			t.Errorf("%q has no certificate", b.PEM)
		}
	})
}

func policy(name, section string, created int, rules ...v1alpha1.AccessRule) *v1alpha1.AIAccessPolicy {
	x := &v1alpha1.AIAccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, CreationTimestamp: metav1.Unix(int64(created), 0)}}
	x.Spec.TargetRef.Group, x.Spec.TargetRef.Kind, x.Spec.TargetRef.Name = "gateway.networking.k8s.io", "Gateway", "gw"
	if section != "" {
		x.Spec.TargetRef.SectionName = new(gatewayv1.SectionName(section))
	}
	x.Spec.Trust.TrustDomain = "d"
	x.Spec.Rules = rules
	return x
}

func allow(identityType, identity, modelType, model string) v1alpha1.AccessRule {
	return v1alpha1.AccessRule{
		Identities: []v1alpha1.IdentityMatch{{Type: v1alpha1.ModelMatchType(identityType), Value: identity}},
		Models:     []v1alpha1.ModelMatch{{Type: v1alpha1.ModelMatchType(modelType), Value: model}},
	}
}

var gw = types.NamespacedName{Namespace: "ns", Name: "gw"}

func TestAllows(t *testing.T) {
	set, results := Compile([]*v1alpha1.AIAccessPolicy{policy("p", "", 0,
		allow("", "spiffe://d/a", "", "gpt"), allow("Prefix", "spiffe://d/ns/red/", "Prefix", "llama-"),
		allow("RegularExpression", "spiffe://d/(x|y)", "RegularExpression", ".*"),
	)})
	if p := results[types.NamespacedName{Namespace: "ns", Name: "p"}].Problems; len(p) > 0 {
		t.Fatal(p)
	}
	p := set.Find(gw, "any")
	for _, tt := range []struct {
		identity, model string
		want            bool
	}{
		{"spiffe://d/a", "gpt", true}, {"spiffe://d/a", "gpt-4", false}, {"spiffe://d/a", "", false}, {"spiffe://d/ab", "gpt", false},
		{"spiffe://d/ns/red/sa/x", "llama-3", true}, {"spiffe://d/ns/red/sa/x", "gpt", false}, {"spiffe://d/ns/redder/sa/x", "llama-3", false},
		{"spiffe://d/x", "whatever", true}, {"spiffe://d/y", "", true}, {"spiffe://d/xy", "whatever", false}, {"", "gpt", false},
	} {
		if got := p.Allows(tt.identity, tt.model); got != tt.want {
			t.Errorf("%q may call %q: %t", tt.identity, tt.model, got)
		}
	}
}

// TestMistakesClose: a policy that is wrong guards its target and allows nothing.
func TestMistakesClose(t *testing.T) {
	good := allow("", "spiffe://d/a", "", "m")
	for want, change := range map[string]func(*v1alpha1.AIAccessPolicy){
		"spec.targetRef: must be a Gateway": func(x *v1alpha1.AIAccessPolicy) { x.Spec.TargetRef.Kind = "HTTPRoute" },
		"spec.trust.trustDomain: must be":   func(x *v1alpha1.AIAccessPolicy) { x.Spec.Trust.TrustDomain = "D/x" },
		"spec.rules[1].identities[0].value: must begin with spiffe://d/": func(x *v1alpha1.AIAccessPolicy) {
			x.Spec.Rules = append(x.Spec.Rules, allow("", "spiffe://e/a", "", "m"))
		},
		"spec.rules[1].identities[0].value: a prefix must end": func(x *v1alpha1.AIAccessPolicy) {
			x.Spec.Rules = append(x.Spec.Rules, allow("Prefix", "spiffe://d/a", "", "m"))
		},
		"spec.rules[1].models[0].value: is not a regular": func(x *v1alpha1.AIAccessPolicy) {
			x.Spec.Rules = append(x.Spec.Rules, allow("", "spiffe://d/a", "RegularExpression", "a)|(b"))
		},
		"spec.rules[1].models[0].value: must have": func(x *v1alpha1.AIAccessPolicy) {
			x.Spec.Rules = append(x.Spec.Rules, allow("", "spiffe://d/a", "", ""))
		},
		"spec.rules[1].models[0].type: must be": func(x *v1alpha1.AIAccessPolicy) {
			x.Spec.Rules = append(x.Spec.Rules, allow("", "spiffe://d/a", "Suffix", "m"))
		},
		"spec.rules[1]: must have identities and models": func(x *v1alpha1.AIAccessPolicy) {
			x.Spec.Rules = append(x.Spec.Rules, v1alpha1.AccessRule{})
		},
	} {
		x := policy("p", "", 0, good)
		change(x)
		set, results := Compile([]*v1alpha1.AIAccessPolicy{x})
		var got []string
		for _, p := range results[types.NamespacedName{Namespace: "ns", Name: "p"}].Problems {
			got = append(got, p.Field+": "+p.Message)
		}
		if len(got) == 0 || !strings.HasPrefix(got[0], want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if p := set.Find(gw, "x"); p == nil || p.Allows("spiffe://d/a", "m") {
			t.Errorf("%s: the target is open", want)
		}
	}
}

func TestTargets(t *testing.T) {
	all := []*v1alpha1.AIAccessPolicy{policy("young", "", 9), policy("old", "", 1), policy("section", "https", 5)}
	for range 2 {
		set, results := Compile(all)
		if p := set.Find(gw, "https"); p.Name.Name != "section" {
			t.Errorf("at its listener is %s", p.Name)
		}
		if p := set.Find(gw, "http"); p.Name.Name != "old" {
			t.Errorf("elsewhere is %s", p.Name)
		}
		if p := set.Find(types.NamespacedName{Namespace: "other", Name: "gw"}, "https"); p != nil {
			t.Errorf("another Gateway has %s", p.Name)
		}
		young := results[types.NamespacedName{Namespace: "ns", Name: "young"}].Problems
		if len(young) != 1 || young[0].Reason != ReasonConflicted || !strings.Contains(young[0].Message, "ns/old") {
			t.Errorf("%+v", young)
		}
		if got := fmt.Sprint(set.Targets(gw)); got != "[{ns/gw } {ns/gw https}]" || set.Empty() || !set.Guards(gw) {
			t.Error(got)
		}
		all[0], all[1] = all[1], all[0]
	}
	var none *Set
	if none.Find(gw, "") != nil || none.Guards(gw) || !none.Empty() || none.Targets(gw) != nil {
		t.Error("no set guards something")
	}
}

func TestMark(t *testing.T) {
	for _, identified := range []bool{true, false} {
		at := Target{gw, "https"}
		scope, got, id, is := Unmark(Mark("routes:ns/a,ns/b", at, identified))
		if scope != "routes:ns/a,ns/b" || got != at || id != identified || !is {
			t.Errorf("%s %v %v %v", scope, got, id, is)
		}
	}
	if scope, _, _, is := Unmark("routes:ns/a"); scope != "routes:ns/a" || is {
		t.Error("a mark out of nothing")
	}
	for _, broken := range []string{"r;gateway=", "r;gateway=a", "r;gateway=a/b", "r;gateway=a/b/c/d", "r;gateway=a/b/c;identity;x"} {
		if scope, at, identified, is := Unmark(broken); scope != "r" || at != (Target{}) || identified || !is {
			t.Errorf("%s: %v %v %v", broken, at, identified, is)
		}
	}
}
