package xds

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files in testdata")

func options() Options {
	return Options{Address: netip.MustParseAddrPort("127.0.0.1:8080"), PickerSocket: "/run/picker.sock"}
}

func somePools() []Pool {
	return []Pool{
		{Name: "ns/open", FailOpen: true, Endpoints: []string{"10.0.0.2:8000", "10.0.0.1:8000", "10.0.0.2:8000", "[2001:db8::1]:8000"}},
		{Name: "ns/closed", HTTP2: true, Endpoints: []string{"10.0.1.1:8001"}},
		{Name: "ns/another-open", FailOpen: true},
	}
}

// toYAML is stable, which protojson's own output is not.
func toYAML(t *testing.T, ms ...proto.Message) []byte {
	t.Helper()
	var all [][]byte
	for _, m := range ms {
		text, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		y, err := yaml.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, y)
	}
	return bytes.Join(all, []byte("---\n"))
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test -rewrite makes it)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs; go test -rewrite if that is meant (-want +got):\n%s", path, diff)
	}
}

func TestGolden(t *testing.T) {
	all, err := Resources(options(), somePools())
	if err != nil {
		t.Fatal(err)
	}
	for name, typ := range map[string]resource.Type{
		"listener.yaml": resource.ListenerType, "routes.yaml": resource.RouteType,
		"clusters.yaml": resource.ClusterType, "endpoints.yaml": resource.EndpointType,
	} {
		var ms []proto.Message
		for _, r := range all[typ] {
			ms = append(ms, r)
		}
		golden(t, name, toYAML(t, ms...))
	}
	golden(t, "bootstrap.yaml", toYAML(t, Bootstrap("/run/xds.sock", "/run/admin.sock")))
	o := options()
	o.AccessLog, o.MaxBodyBytes, o.Retries, o.MessageTimeout = true, 1<<20, 1, 2*time.Second
	o.Address = netip.MustParseAddrPort("[::]:80")
	golden(t, "listener-options.yaml", toYAML(t, Listener(o)))
	golden(t, "routes-closed.yaml", toYAML(t, Routes(o, somePools()[1:2])))
}

// Envoy's own rules hold for every message, those inside an Any included.
func TestValid(t *testing.T) {
	o := options()
	o.AccessLog = true
	for _, pools := range [][]Pool{nil, somePools(), somePools()[1:2]} {
		all, err := Resources(o, pools)
		if err != nil {
			t.Fatal(err)
		}
		var snap cache.Snapshot
		for typ, rs := range all {
			snap.Resources[cache.GetResponseType(typ)] = cache.NewResources("1", rs)
			for _, r := range rs {
				validate(t, cache.GetResourceName(r), r)
			}
		}
		if err := snap.Consistent(); err != nil {
			t.Error(err)
		}
	}
	validate(t, "bootstrap", Bootstrap("/run/xds.sock", "/run/admin.sock"))
}

func validate(t *testing.T, path string, m proto.Message) {
	t.Helper()
	if a, ok := m.(*anypb.Any); ok {
		inner, err := a.UnmarshalNew()
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		validate(t, path, inner)
		return
	}
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		at := path + "." + string(f.Name())
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, e protoreflect.Value) bool {
					validate(t, at, e.Message().Interface())
					return true
				})
			}
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				validate(t, at, v.List().Get(i).Message().Interface())
			}
		default:
			validate(t, at, v.Message().Interface())
		}
		return true
	})
}

func TestDeterministic(t *testing.T) {
	build := func(pools []Pool) (out []byte) {
		all, err := Resources(options(), pools)
		if err != nil {
			t.Fatal(err)
		}
		for _, typ := range []resource.Type{resource.ListenerType, resource.RouteType, resource.ClusterType, resource.EndpointType} {
			for _, r := range all[typ] {
				out, err = proto.MarshalOptions{Deterministic: true}.MarshalAppend(out, r)
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		return out
	}
	pools := somePools()
	want := build(pools)
	before := slices.Clone(pools)
	slices.Reverse(pools)
	slices.Reverse(pools[2].Endpoints)
	for range 20 {
		if !bytes.Equal(build(pools), want) {
			t.Fatal("the order of pools or endpoints shows")
		}
	}
	slices.Reverse(pools)
	for i := range pools {
		if pools[i].Name != before[i].Name {
			t.Error("the caller's pools were reordered")
		}
	}
}

func TestLocalRepliesAreJSON(t *testing.T) {
	for _, m := range localReplies("").Mappers {
		text := m.BodyFormatOverride.GetTextFormatSource().GetInlineString()
		if !json.Valid([]byte(text)) || strings.Contains(text, "%") {
			t.Errorf("not JSON, or something Envoy would substitute: %s", text)
		}
	}
}

func TestPoolValidate(t *testing.T) {
	for _, tt := range []struct {
		pool Pool
		want string // in the error; empty for none
	}{
		{Pool{Name: "a/b"}, ""},
		{Pool{Name: "default/llama-3.1"}, ""},
		{Pool{Name: "a/b", Endpoints: []string{"10.0.0.1:1", "[::1]:65535"}}, ""},
		{Pool{Name: ""}, "namespace/name"},
		{Pool{Name: "b"}, "namespace/name"},
		{Pool{Name: "a/b/c"}, "namespace/name"},
		{Pool{Name: "A/b"}, "namespace/name"},
		{Pool{Name: "a/b\n"}, "namespace/name"},
		{Pool{Name: "a/" + strings.Repeat("b", 300)}, "namespace/name"},
		{Pool{Name: "a/b", Endpoints: []string{"host:80"}}, "endpoint 1"},
		{Pool{Name: "a/b", Endpoints: []string{"10.0.0.1:80", "10.0.0.1:0"}}, "endpoint 2"},
		{Pool{Name: "a/b", Endpoints: []string{"10.0.0.1"}}, "endpoint 1"},
		{Pool{Name: "a/b", Endpoints: []string{"[fe80::1%eth0]:80"}}, "endpoint 1"},
	} {
		err := tt.pool.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v, want %q", tt.pool, err, tt.want)
		}
	}
	if err := ValidatePools([]Pool{{Name: "a/b"}, {Name: "a/b"}}); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("the same name twice: %v", err)
	}
}

func TestOptionsValidate(t *testing.T) {
	for _, tt := range []struct {
		change func(*Options)
		want   string
	}{
		{func(*Options) {}, ""},
		{func(o *Options) { o.Address = netip.AddrPort{} }, "listen address"},
		{func(o *Options) { o.PickerSocket = "" }, "picker socket"},
		{func(o *Options) { o.NoPicker = true }, "must be empty without a picker"},
		{func(o *Options) { o.PickerSocket = strings.Repeat("p", 104) }, "TMPDIR"},
		{func(o *Options) { o.MaxBodyBytes = -1 }, "body size"},
		{func(o *Options) { o.MaxBodyBytes = 1<<30 + 1 }, "body size"},
		{func(o *Options) { o.MessageTimeout = -time.Second }, "message timeout"},
		{func(o *Options) { o.MaxMessageTimeout = time.Millisecond }, "maximum message timeout"},
		{func(o *Options) { o.StreamIdleTimeout = time.Nanosecond }, "stream idle timeout"},
		{func(o *Options) { o.RequestTimeout = -1 }, "request timeout"},
		{func(o *Options) { o.ConnectTimeout = -1 }, "connect timeout"},
		{func(o *Options) { o.Retries = -1 }, "retries"},
	} {
		o := options()
		tt.change(&o)
		err := o.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%v, want %q", err, tt.want)
		}
		if _, err2 := Resources(o, nil); (err == nil) != (err2 == nil) {
			t.Errorf("Resources: %v, Validate: %v", err2, err)
		}
	}
}

// TestNoPicker: without the picker, only the filter and its cluster are missing.
func TestNoPicker(t *testing.T) {
	with, err := Resources(options(), somePools())
	if err != nil {
		t.Fatal(err)
	}
	o := options()
	o.NoPicker, o.PickerSocket = true, ""
	without, err := Resources(o, somePools())
	if err != nil {
		t.Fatal(err)
	}
	yaml := func(all map[resource.Type][]types.Resource, kind resource.Type) string {
		var ms []proto.Message
		for _, r := range all[kind] {
			ms = append(ms, r)
		}
		return string(toYAML(t, ms...))
	}
	for _, kind := range []resource.Type{resource.RouteType, resource.EndpointType} {
		if diff := cmp.Diff(yaml(with, kind), yaml(without, kind)); diff != "" {
			t.Errorf("%s differ (-with +without):\n%s", kind, diff)
		}
	}
	if n, m := len(with[resource.ClusterType]), len(without[resource.ClusterType]); m != n-1 {
		t.Errorf("%d clusters, want one less than %d", m, n)
	}
	for _, kind := range []resource.Type{resource.ClusterType, resource.ListenerType} {
		y := yaml(without, kind)
		if strings.Contains(y, "ext_proc") || strings.Contains(y, "name: "+PickerClusterName) {
			t.Errorf("the picker is in %s", kind)
		}
	}
}
