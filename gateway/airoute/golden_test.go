package airoute

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/aibackend/credentials"
)

var rewrite = flag.Bool("rewrite", false, "write what the objects come to into testdata")

const resultMark = "=== result\n"

func TestCompile(t *testing.T) {
	files, err := filepath.Glob("testdata/compile/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		objects, want, ok := strings.Cut(string(text), resultMark)
		if !ok {
			t.Fatalf("%s has no result", file)
		}
		in := world(t, objects)
		got := summary(Compile(in))
		if *rewrite {
			if err := os.WriteFile(file, []byte(objects+resultMark+got), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if got != want {
			t.Errorf("%s: objects come to other than they did; look at what -rewrite changes\n%s", file, difference(got, want))
		}
		hashes := func(r *Result) (all []string) {
			for _, x := range r.Routes {
				all = append(all, x.Name+x.Hash)
			}
			for n, x := range r.Direct {
				all = append(all, n.String()+x.Hash)
			}
			slices.Sort(all)
			return all
		}
		before := hashes(Compile(in))
		for seed := range uint64(20) {
			r := rand.New(rand.NewPCG(seed, 1))
			r.Shuffle(len(in.Routes), func(i, k int) { in.Routes[i], in.Routes[k] = in.Routes[k], in.Routes[i] })
			r.Shuffle(len(in.Backends), func(i, k int) { in.Backends[i], in.Backends[k] = in.Backends[k], in.Backends[i] })
			r.Shuffle(len(in.HTTPRoutes), func(i, k int) { in.HTTPRoutes[i], in.HTTPRoutes[k] = in.HTTPRoutes[k], in.HTTPRoutes[i] })
			again := Compile(in)
			if summary(again) != got || !slices.Equal(hashes(again), before) {
				t.Fatalf("%s: in another order, objects come to\n%s", file, summary(again))
			}
		}
	}
}

// summary is a Result as text, without what is random in tests.
func summary(r *Result) string {
	var out strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&out, format, args...) }
	wrong := func(all []Problem) {
		for _, x := range all {
			p("  %s %s: %s: %s\n", x.Condition, x.Reason, x.Field, x.Message)
		}
	}
	for _, n := range sortedNames(r.Backends) {
		x := r.Backends[n]
		p("AIBackend %s generation=%d used=%t\n", x.Name, x.Generation, x.Used)
		wrong(x.Problems)
	}
	for _, n := range sortedNames(r.Routes) {
		x := r.Routes[n]
		p("AIRoute %s generation=%d hostnames=%v rules=%v\n", x.Name, x.Generation, x.Hostnames, x.Rules)
		for _, m := range x.Matches {
			p("  path %s %s\n", *m.Path.Type, *m.Path.Value)
		}
		for _, m := range r.Config.ModelsOf([]string{x.Name}) {
			p("  model %s of %s at %d\n", m.Name, m.OwnedBy, m.Created)
		}
		wrong(x.Problems)
	}
	for _, n := range sortedNames(r.Direct) {
		p("HTTPRoute %s rules=%v\n", n, r.Direct[n].Rules)
		wrong(r.Direct[n].Problems)
	}
	for i := range r.Config.Rules {
		x := &r.Config.Rules[i]
		p("rule %s route=%q attempts=%d first=%s request=%s managed=%t\n", x.Name, x.Route, x.Attempts, x.FirstByteTimeout.Round(time.Millisecond), x.Timeout, x.Managed)
		if x.On != AllTriggers() && len(x.Groups) > 0 {
			p("  on %+v\n", x.On)
		}
		if x.Lost > 0 {
			p("  lost %d\n", x.Lost)
		}
		for _, c := range x.Costs {
			p("  cost %s %s\n", c.Name, c.Type)
		}
		for k, g := range x.Groups {
			for _, t := range g {
				p("  %d: %s weight=%d", k, x.Cluster(k, t), t.Weight)
				if t.Pool != "" {
					p(" pool=%s", t.Pool)
				}
				if t.Model != "" {
					p(" model=%s", t.Model)
				}
				p("\n")
			}
		}
	}
	for i := range r.Config.Backends {
		x := &r.Config.Backends[i]
		p("backend %s %s", x.Name, x.Provider.Schema)
		if x.Pool != "" {
			p(" pool=%s", x.Pool)
		} else {
			p(" %s", x.Authority())
		}
		if k := x.Picked; k != nil {
			p(" service=%s:%q picker=%q open=%t host=%s", k.Service, k.Port, k.Picker, k.FailOpen, x.Authority())
		}
		p(" tls={off=%t insecure=%t name=%q ca=%d} credentials=%s", x.TLS.Off, x.TLS.Insecure, x.TLS.ServerName, strings.Count(string(x.TLS.CA), "BEGIN"), x.Credentials.Type)
		if o := oidcOf(&x.Credentials); o != nil {
			p(" issuer=%s client=%s secret=%s/%s:%s scopes=%v audience=%q guard=%+v", o.Issuer, o.ClientID,
				o.ClientSecret.SecretRef.Namespace, o.ClientSecret.SecretRef.Name, o.ClientSecret.SecretRef.Key, o.Scopes, o.Audience, *o.Guard)
		}
		if x.Provider.Model != "" {
			p(" model=%s", x.Provider.Model)
		}
		for _, h := range slices.Concat(x.SetHeaders, x.AddHeaders) {
			p(" %s=%s", h.Name, h.Value)
		}
		for _, f := range x.SetBody {
			p(" body.%s=%s", f.Name, f.Value)
		}
		p(" without=%v,%v\n", x.RemoveHeaders, x.RemoveBody)
	}
	return out.String()
}

// oidcOf is where a credential's identity token comes from, nil if from nowhere.
func oidcOf(c *credentials.Config) *credentials.OIDC {
	switch {
	case c.AWS != nil && c.AWS.WebIdentity != nil:
		return c.AWS.WebIdentity.Token.OIDC
	case c.Azure != nil && c.Azure.Federated != nil:
		return c.Azure.Federated.OIDC
	case c.GCP != nil && c.GCP.WorkloadIdentity != nil:
		return c.GCP.WorkloadIdentity.Token.OIDC
	}
	return nil
}

func sortedNames[T any](m map[types.NamespacedName]T) []types.NamespacedName {
	return slices.SortedFunc(maps.Keys(m), func(a, b types.NamespacedName) int { return strings.Compare(a.String(), b.String()) })
}

// difference is the lines of got that are not in want, and the other way round.
func difference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	var out []string
	for _, line := range g {
		if !slices.Contains(w, line) {
			out = append(out, "+"+line)
		}
	}
	for _, line := range w {
		if !slices.Contains(g, line) {
			out = append(out, "-"+line)
		}
	}
	return strings.Join(out, "\n")
}
