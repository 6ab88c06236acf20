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
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
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
	changed := 0
	for name, m := range in.managers(t) {
		if cmp.Diff(m, out.managers(t)[name], protocmp.Transform()) != "" {
			changed++
			if !strings.HasSuffix(name, " ordinary/gw/ai") {
				t.Errorf("%s was changed", name)
			}
		}
	}
	if changed != 1 {
		t.Errorf("%d connection managers were changed", changed)
	}
}

// Without pools, not a byte changes, and nothing is decoded that need not be.
func TestNoPools(t *testing.T) {
	text, err := os.ReadFile("testdata/ordinary/input.yaml")
	if err != nil {
		t.Fatal(err)
	}
	in := fromYAML(t, text).encoded()
	in.secrets = [][]byte{[]byte("\xff not even protobuf")}
	in.listeners = append(in.listeners, []byte("\xff nor this"))
	s := newServer(t, options(t, fake.NewClientBuilder().WithScheme(scheme(t)).Build()))
	got, _, err := s.translate(context.Background(), encodeRequest(in))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, encodeResponse(in)) {
		t.Error("something was changed")
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
