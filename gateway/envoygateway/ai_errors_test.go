package envoygateway

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/gateway/airoute"
)

// changed is a recorded feature whose result was changed before the translation.
func changed(t *testing.T, name string, change func(*compiled)) (envoy, *Server) {
	t.Helper()
	file := "testdata/" + name + "/objects.yaml"
	o, ai := options(t, objects(t, file)), aiOf(t, file)
	o.AI = ai
	change(ai)
	s := newServer(t, o)
	return s.must(t, recorded(t, name)), s
}

func objectName(name string) types.NamespacedName {
	namespace, name, _ := strings.Cut(name, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// What Envoy Gateway has seen and we have not is waited for, once and not for long.
func TestWaitsForAIRoutes(t *testing.T) {
	var ai *compiled
	out, _ := changed(t, "airoute", func(c *compiled) {
		ai = c
		after := c.result
		c.result = &airoute.Result{Config: &airoute.Config{}}
		c.wait = func(string, string) bool { c.result = after; return true }
	})
	if want := []string{"airoute/chat state-of-chat"}; !slices.Equal(ai.waited, want) {
		t.Errorf("waited for %v, want %v", ai.waited, want)
	}
	out.named(t, "rule airoute/chat/llama")

	out, _ = changed(t, "airoute", func(c *compiled) { // which never comes
		ai = c
		c.result.Routes[objectName("airoute/chat")].Hash = "another"
	})
	if len(ai.waited) != 1 {
		t.Errorf("waited for %v", ai.waited)
	}
	out.named(t, "rule airoute/chat/llama") // as far as we know
}

func TestAIRoutesNotKnownYet(t *testing.T) {
	o := options(t, objects(t, "testdata/airoute/objects.yaml"))
	o.AI = &compiled{}
	_, result, err := newServer(t, o).translate(context.Background(), recorded(t, "airoute").request())
	if status.Code(err) != codes.Unavailable || result != "unavailable" {
		t.Errorf("%s, %v", result, err)
	}
}

// Without a source, AIRoutes stay what Envoy Gateway made of them.
func TestNoAI(t *testing.T) {
	in := recorded(t, "airoute")
	out := newServer(t, options(t, objects(t, "testdata/airoute/objects.yaml"))).must(t, in)
	name := "httproute/airoute/chat/rule/0/match/0/*"
	if !bytes.Equal(encode(in.named(t, name)), encode(out.named(t, name))) {
		t.Error("the route was changed")
	}
	if len(out.routes()) != len(in.routes()) {
		t.Error("routes came")
	}
}

// A mistake of ours over one AIRoute costs that one.
func TestOneAIRouteFails(t *testing.T) {
	const ns = "airoute-several-on-a-host/"
	check := func(t *testing.T, out envoy) {
		t.Helper()
		wantLines(t, envoy{Routes: out.Routes[:1]}, ns+"gw/http/a_example_com",
			"rule "+ns+"named/0 > routes:"+ns+"named > fairway/"+ns+"llama",
			"httproute/"+ns+"named/rule/0/match/0/a_example_com > routes:"+ns+"named > fairway/"+ns+"llama",
			"httproute/"+ns+"own/rule/0/match/0/a_example_com > "+ns+"qwen > fairway/"+ns+"qwen",
		)
		for _, r := range []string{"first/rule/0/match/0", "first/rule/0/match/1"} {
			if got := split(out.named(t, "httproute/"+ns+r+"/*")); !slices.Equal(got, []string{"direct 500"}) {
				t.Errorf("%s goes to %v", r, got)
			}
		}
		if got := split(out.named(t, "rule "+ns+"second/0")); !slices.Equal(got, []string{"fairway/" + ns + "qwen"}) {
			t.Errorf("the second goes to %v", got)
		}
	}
	t.Run("compiled wrong", func(t *testing.T) {
		out, _ := changed(t, "airoute-several-on-a-host", func(c *compiled) {
			c.result.Routes[objectName(ns+"first")].Rules = []string{"not there"}
		})
		check(t, out)
	})
	t.Run("refused by Envoy", func(t *testing.T) {
		out, _ := changed(t, "airoute-several-on-a-host", func(c *compiled) {
			c.result.Config.Rule(ns + "first/0").Groups[0][0].Pool = "Not/A Pool"
		})
		check(t, out)
	})
	t.Run("route refused by Envoy", func(t *testing.T) {
		out, _ := changed(t, "airoute-several-on-a-host", func(c *compiled) {
			c.result.Config.Rule(ns + "first/0").Groups[0][0].Weight = 0
			c.result.Config.Rule(ns + "first/0").Groups[0] = append(c.result.Config.Rule(ns + "first/0").Groups[0], airoute.Target{Pool: ns + "qwen"})
			c.result.Config.Rule(ns + "first/0").Name = "bad\x00name"
			c.result.Routes[objectName(ns+"first")].Rules = []string{"bad\x00name"}
		})
		check(t, out)
	})
}

// A provider that Envoy would refuse is one that cannot be reached, so that the next
// group is tried and everybody else's clusters are accepted.
func TestProviderRefused(t *testing.T) {
	for name, change := range map[string]func(*airoute.Backend){
		"authority": func(b *airoute.Backend) { b.TLS.CA = []byte("not PEM") },
		"host":      func(b *airoute.Backend) { b.Host = "no host" },
	} {
		out, _ := changed(t, "airoute-fallback", func(c *compiled) { change(c.result.Config.Backend("airoute-fallback/inside")) })
		c := out.cluster("backend:airoute-fallback/inside")
		a := c.LoadAssignment.Endpoints[0].LbEndpoints[0].GetEndpoint().Address.GetSocketAddress()
		if a.Address != "127.0.0.1" || a.GetPortValue() != 1 || c.AltStatName != "airoute-fallback/inside" {
			t.Errorf("%s: the cluster is %v", name, c)
		}
		validate(t, out)
	}
}

// A Service with a picker is spoken to as a pool is, of which nobody knows any
// InferencePool.
func TestServiceWithPicker(t *testing.T) {
	out, _ := changed(t, "airoute-fallback", func(c *compiled) {
		b := c.result.Config.Backend("airoute-fallback/inside")
		b.Pool, b.Picked = "picked:"+b.Name, &airoute.Picked{}
		c.result.Config.Rule("airoute-fallback/chat/schema").Groups[2][0].Pool = b.Pool
	})
	c := out.cluster("backend:airoute-fallback/inside")
	if c == nil || c.EdsClusterConfig.GetServiceName() != "picked:airoute-fallback/inside" || c.AltStatName != "airoute-fallback/inside" {
		t.Errorf("the cluster is %v", c)
	}
	if policy := c.LoadBalancingPolicy.String(); !strings.Contains(policy, "override_host") || strings.Contains(policy, "fairway.dev/nobody") {
		t.Errorf("its policy is %s", policy)
	}
	for _, c := range out.Clusters {
		if strings.Contains(c.Name, "/picked:") {
			t.Errorf("there is a cluster %s", c.Name)
		}
	}
	validate(t, out)
}

// A pool that went after it was compiled has a cluster, which is empty, so that requests
// go on to the next group.
func TestPoolOfAIRouteGone(t *testing.T) {
	file := "testdata/airoute-fallback/objects.yaml"
	c := objects(t, file)
	for _, name := range []string{"llama", "qwen"} {
		p := &inferencev1.InferencePool{}
		p.Namespace, p.Name = "airoute-fallback", name
		if err := c.Delete(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	o := options(t, c)
	o.AI = aiOf(t, file)
	out := newServer(t, o).must(t, recorded(t, "airoute-fallback"))
	if out.cluster("fairway/airoute-fallback/llama") == nil || out.cluster("restore:airoute-fallback/qwen") == nil {
		t.Error("clusters are missing")
	}
	// Whether it would fail open, nobody knows any more.
	if got := split(out.named(t, "httproute/airoute-fallback/chat/rule/0/match/0/*")); !slices.Equal(got, []string{"fairway-no-picker"}) {
		t.Errorf("unseen requests go to %v", got)
	}
}

func TestCatalogueTooLong(t *testing.T) {
	out, _ := changed(t, "airoute", func(c *compiled) {
		b := c.result.Config.Backend("airoute/openai")
		for i := range 5000 {
			b.Models = append(b.Models, strings.Repeat("m", 1000)+itoa(uint32(i)))
		}
	})
	lines := out.lines(t, "airoute/gw/http/*")
	if !strings.HasPrefix(lines[0], "rule airoute/chat/llama") {
		t.Errorf("the first route is %.100s", lines[0])
	}
}
