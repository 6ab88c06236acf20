package envoygateway

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

var record = flag.String("record", "", "have Envoy Gateway, the binary $FAIRWAY_ENVOY_GATEWAY, write input.yaml of this feature")

const gatewayClass = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: fairway}
spec: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
`

// TestRecord writes testdata/NAME/input.yaml, what Envoy Gateway makes of objects.yaml.
//
//	FAIRWAY_ENVOY_GATEWAY=…/envoy-gateway go test ./gateway/envoygateway -run TestRecord -record airoute
func TestRecord(t *testing.T) {
	if *record == "" {
		t.Skip("nothing to record")
	}
	binary, dir := os.Getenv("FAIRWAY_ENVOY_GATEWAY"), t.TempDir()
	text, err := os.ReadFile(filepath.Join("testdata", *record, "objects.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan resources, 64)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	s := grpc.NewServer(ServerOptions()...)
	s.RegisterService(&grpc.ServiceDesc{ServiceName: serviceName, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
		MethodName: "PostTranslateModify",
		Handler: unary("PostTranslateModify", func(_ *Server, _ context.Context, in *message) (*message, error) {
			r, err := decodeRequest(bytes.Clone(in.data))
			if err != nil {
				return nil, err
			}
			got <- r
			return &message{data: encodeResponse(r)}, nil
		}),
	}}}, new(Server))
	go func() { _ = s.Serve(l) }()
	defer s.Stop()

	config := fmt.Sprintf(`apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
gateway: {controllerName: gateway.envoyproxy.io/gatewayclass-controller}
provider:
  type: Custom
  custom:
    resource: {type: File, file: {paths: [%[1]s/objects.yaml]}}
    infrastructure: {type: Host, host: {configHome: %[1]s, dataHome: %[1]s, stateHome: %[1]s, runtimeDir: %[1]s}}
extensionApis: {enableBackend: true}
extensionManager:
  backendResources:
  - {group: inference.networking.k8s.io, version: v1, kind: InferencePool}
  - {group: fairway.dev, version: v1alpha1, kind: AIRoute}
  - {group: fairway.dev, version: v1alpha1, kind: AIBackend}
  hooks: {xdsTranslator: {post: [Translation], translation: {listener: {includeAll: true}, route: {includeAll: true}}}}
  service: {fqdn: {hostname: localhost, port: %[2]d}}
`, dir, port)
	for name, content := range map[string]string{"config.yaml": config, "objects.yaml": string(text) + gatewayClass} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), binary, "certgen", "--local", "--config-home", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, "server", "--config-path", filepath.Join(dir, "config.yaml"))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() || testing.Verbose() {
			t.Logf("Envoy Gateway:\n%s", log.Bytes())
		}
	}()
	var last *resources
	for quiet := time.After(patience); ; {
		select {
		case r := <-got:
			last, quiet = &r, time.After(3*time.Second) // it translates again as objects come
			continue
		case <-quiet:
		}
		break
	}
	if last == nil {
		t.Fatal("Envoy Gateway did not call")
	}
	in := decoded(t, *last)
	annotate(t, in, objectsOf(t, filepath.Join("testdata", *record, "objects.yaml")))
	if err := os.WriteFile(filepath.Join("testdata", *record, "input.yaml"), toYAML(t, in), 0o644); err != nil {
		t.Fatal(err)
	}
}

// annotate adds the annotations of HTTPRoutes, which Envoy Gateway loses when it reads
// files, where it puts them when it reads from an API server.
func annotate(t *testing.T, in envoy, objects []client.Object) {
	t.Helper()
	hashes := map[string]string{}
	for _, o := range objects {
		if hash := o.GetAnnotations()["gateway.envoyproxy.io/"+hashAnnotation]; hash != "" {
			hashes[client.ObjectKeyFromObject(o).String()] = hash
		}
	}
	add := func(m *corev3.Metadata) {
		for _, r := range m.GetFilterMetadata()["envoy-gateway"].GetFields()["resources"].GetListValue().GetValues() {
			f := r.GetStructValue().Fields
			hash := hashes[f["namespace"].GetStringValue()+"/"+f["name"].GetStringValue()]
			if f["kind"].GetStringValue() != "HTTPRoute" || hash == "" {
				continue
			}
			a, err := structpb.NewStruct(map[string]any{hashAnnotation: hash})
			if err != nil {
				t.Fatal(err)
			}
			f["annotations"] = structpb.NewStructValue(a)
		}
	}
	for _, c := range in.Clusters {
		add(c.Metadata)
	}
	for _, c := range in.Routes {
		for _, h := range c.VirtualHosts {
			for _, r := range h.Routes {
				add(r.Metadata)
			}
		}
	}
}
