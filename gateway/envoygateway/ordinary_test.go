package envoygateway

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// Other people's routes, listeners and clusters are what they were.
func TestOrdinary(t *testing.T) {
	in, out := feature(t, "ordinary")
	wantSplit(t, out, "/ai", "fairway/ordinary/llama")
	if diff := cmp.Diff(in.route(t, "/web"), out.route(t, "/web"), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	for _, c := range in.Clusters {
		if r, _, ok := parseCluster(c.Name); !ok || r.route.Name != "ai" {
			if diff := cmp.Diff(c, out.cluster(c.Name), protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		}
	}
	for name, m := range in.managers(t) {
		n := out.managers(t)[name]
		early, filters := n.EarlyHeaderMutationExtensions, n.HttpFilters
		if len(early) == 0 || len(filters) != len(m.HttpFilters)+1 || !filters[len(filters)-2].Disabled || n.LocalReplyConfig == nil {
			t.Fatalf("%s has filters %v", name, filterNames(n))
		}
		// Without what is ours, it is what it was.
		n.EarlyHeaderMutationExtensions, n.LocalReplyConfig = early[:len(early)-1], nil
		n.HttpFilters = slices.Delete(filters, len(filters)-2, len(filters)-1)
		if diff := cmp.Diff(m, n, protocmp.Transform(), protocmp.IgnoreEmptyMessages()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Without rules of ours, listeners get the filter, clusters the pickers', and nothing
// else changes: a listener that changes with the first rule and the last is not there
// for its requests meanwhile.
func TestNoPools(t *testing.T) {
	text, err := os.ReadFile("testdata/ordinary/input.yaml")
	if err != nil {
		t.Fatal(err)
	}
	in := fromYAML(t, text).encoded()
	in.secrets = [][]byte{[]byte("\xff not even protobuf")}
	translated := func(c client.Client) resources {
		t.Helper()
		got, _, err := newServer(t, options(t, c)).translate(context.Background(), encodeRequest(in))
		if err != nil {
			t.Fatal(err)
		}
		return decodeResponse(t, got)
	}
	none := translated(fake.NewClientBuilder().WithScheme(scheme(t)).Build())
	if !slices.EqualFunc(none.routes, in.routes, bytes.Equal) || !slices.EqualFunc(none.secrets, in.secrets, bytes.Equal) {
		t.Error("routes or secrets were changed")
	}
	n := len(in.clusters)
	if len(none.clusters) != n+1 || !slices.EqualFunc(none.clusters[:n], in.clusters, bytes.Equal) {
		t.Error("more than one cluster was changed")
	}
	if c := decoded(t, none).Clusters[n].Name; c != xds.PickerClusterName {
		t.Errorf("cluster %s came", c)
	}
	some := translated(objects(t, "testdata/ordinary/objects.yaml"))
	if !slices.EqualFunc(none.listeners, some.listeners, bytes.Equal) {
		t.Error("the first rule of ours changes listeners")
	}
}

// What lies beside a changed route keeps its bytes, unknown fields and all.
func TestBytesKept(t *testing.T) {
	text, err := os.ReadFile("testdata/ordinary/input.yaml")
	if err != nil {
		t.Fatal(err)
	}
	in := fromYAML(t, text).encoded()
	const unknown = 900
	for i := range in.routes {
		in.routes[i] = appendMessage(in.routes[i], unknown, []byte("of a later version"))
	}
	in.secrets = [][]byte{[]byte("\xff not even protobuf")}
	s := newServer(t, options(t, objects(t, "testdata/ordinary/objects.yaml")))
	response, _, err := s.translate(context.Background(), encodeRequest(in))
	if err != nil {
		t.Fatal(err)
	}
	out := decodeResponse(t, response)
	if !slices.EqualFunc(in.secrets, out.secrets, bytes.Equal) {
		t.Error("secrets were changed")
	}
	for i := range out.routes {
		kept := false
		err := inField(out.routes[i], unknown, func(b []byte) error { kept = string(b) == "of a later version"; return nil })
		if err != nil || !kept {
			t.Errorf("an unknown field is gone (%v)", err)
		}
	}
	before, after := map[string][]byte{}, map[string][]byte{}
	for _, side := range []struct {
		list [][]byte
		into map[string][]byte
	}{{in.routes, before}, {out.routes, after}} {
		for _, c := range side.list {
			err := eachRoute(c, func(r []byte) error {
				name, err := stringField(r, routeName)
				side.into[name] = r
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, r := range before {
		if same := bytes.Equal(r, after[name]); same == strings.Contains(name, "/ai/") {
			t.Errorf("%s: the same is %v", name, same)
		}
	}
}
