package charts

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

// foreign are the kinds whose types this module does not have; the test that installs
// the chart validates them.
var foreign = []string{"EnvoyProxy", "Issuer", "Certificate", "ServiceMonitor", "PrometheusRule", "CustomResourceDefinition"}

func TestLint(t *testing.T) {
	for name, values := range valueSets(t) {
		if out, err := helm(t, values, "lint", "--strict", "--kube-version", "1.34.0", "-f", "-", chart); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestKinds holds every rendered object to the Go type of its kind.
func TestKinds(t *testing.T) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, gatewayv1.Install, inferencev1.Install} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	for name, values := range valueSets(t) {
		for key, u := range mustRender(t, values, "--include-crds") {
			if slices.Contains(foreign, u.GetKind()) {
				continue
			}
			typed, err := s.New(u.GroupVersionKind())
			if err != nil {
				t.Errorf("%s: %s: %v", name, key, err)
				continue
			}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, typed, true); err != nil {
				t.Errorf("%s: %s: %v", name, key, err)
			}
		}
	}
}

// into converts an object to its type.
func into[T any](t *testing.T, u *unstructured.Unstructured) *T {
	t.Helper()
	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, typed); err != nil {
		t.Fatal(err)
	}
	return typed
}

func TestGatewayIsRestricted(t *testing.T) {
	for name, values := range valueSets(t) {
		for key, u := range mustRender(t, values) {
			var pod corev1.PodSpec
			switch u.GetKind() {
			case "Deployment":
				d := into[appsv1.Deployment](t, u)
				pod = d.Spec.Template.Spec
				for k, v := range d.Spec.Selector.MatchLabels {
					if d.Spec.Template.Labels[k] != v {
						t.Errorf("%s: %s does not select its pods by %s", name, key, k)
					}
				}
			case "Pod":
				pod = into[corev1.Pod](t, u).Spec
			default:
				continue
			}
			c := pod.Containers[0]
			p, s := pod.SecurityContext, c.SecurityContext
			if !*p.RunAsNonRoot || *p.RunAsUser != 65532 || p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault ||
				!*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("%s: %s is not restricted", name, key)
			}
		}
	}
}

func TestDrainEndsBeforeTheKill(t *testing.T) {
	d := into[appsv1.Deployment](t, mustRender(t, "gateway: {drainSeconds: 300}").get(t, "Deployment/fairway-gateway"))
	spec := d.Spec.Template.Spec
	if !slices.Contains(spec.Containers[0].Args, "--drain-timeout=300s") {
		t.Errorf("arguments %q", spec.Containers[0].Args)
	}
	if grace, least := *spec.TerminationGracePeriodSeconds, 300+spec.Containers[0].Lifecycle.PreStop.Sleep.Seconds; grace <= least {
		t.Errorf("killed after %d s, but the pause and the drain take %d s", grace, least)
	}
}

// TestRoleNamesOneSecret: besides those of providers, the gateway reads none but its own.
func TestRoleNamesOneSecret(t *testing.T) {
	for mode, want := range map[string]int{"selfManaged": 2, "certManager": 0, "insecure": 0} {
		n := 0
		for key, u := range mustRender(t, "egress: {enabled: false}\ncertificates: {mode: "+mode+"}") {
			if u.GetKind() != "Role" && u.GetKind() != "ClusterRole" {
				continue
			}
			for _, r := range into[rbacv1.ClusterRole](t, u).Rules {
				if slices.Contains(r.Resources, "*") || slices.Contains(r.Verbs, "*") || slices.Contains(r.APIGroups, "*") {
					t.Errorf("%s: %s grants everything: %v", mode, key, r)
				}
				if !slices.Contains(r.Resources, "secrets") {
					continue
				}
				n++
				if u.GetKind() != "Role" || len(r.ResourceNames) != 1 && !slices.Equal(r.Verbs, []string{"create"}) {
					t.Errorf("%s: %s grants Secrets: %v", mode, key, r)
				}
			}
		}
		if n != want {
			t.Errorf("%s: %d rules about Secrets, want %d", mode, n, want)
		}
	}
}

// TestEgressRoles: what is asked of the provider's Secrets is given, and no more.
func TestEgressRoles(t *testing.T) {
	reads := func(values string) (where []string) {
		for key, u := range mustRender(t, "certificates: {mode: insecure}\negress: "+values) {
			if u.GetKind() != "Role" && u.GetKind() != "ClusterRole" {
				continue
			}
			for _, r := range into[rbacv1.ClusterRole](t, u).Rules {
				if slices.Contains(r.APIGroups, "fairway.dev") && !strings.HasSuffix(u.GetName(), "-envoy-gateway") && values == "{enabled: false}" {
					t.Errorf("%s grants %v without egress", key, r)
				}
				if !slices.Contains(r.Resources, "secrets") {
					continue
				}
				if !slices.Equal(r.Verbs, []string{"get", "list", "watch"}) {
					t.Errorf("%s: %s grants %v", values, key, r)
				}
				where = append(where, u.GetKind()+" "+u.GetNamespace())
			}
		}
		slices.Sort(where)
		return where
	}
	for values, want := range map[string][]string{
		"{}":                         {"ClusterRole "},
		"{secretNamespaces: [a, b]}": {"Role a", "Role b"},
		"{enabled: false}":           nil,
		"{enabled: false, secretNamespaces: [a]}": nil,
	} {
		if got := reads(values); !slices.Equal(got, want) {
			t.Errorf("%s: Secrets are read by %q, want %q", values, got, want)
		}
	}
}

func TestEgressFlags(t *testing.T) {
	for values, want := range map[string][]string{
		"":                         {"--egress=true", "--provider-ca-file=/etc/ssl/certs/ca-certificates.crt", "--own-identity-namespaces=fairway-system"},
		"egress: {enabled: false}": {"--egress=false"},
		"{gateway: {ownIdentityNamespaces: [a, b]}, egress: {secretNamespaces: [c, d], caFile: /ca}}": {
			"--egress=true", "--provider-ca-file=/ca", "--own-identity-namespaces=a,b", "--secret-namespaces=c,d",
		},
	} {
		var got []string
		for _, a := range into[appsv1.Deployment](t, mustRender(t, values).get(t, "Deployment/fairway-gateway")).Spec.Template.Spec.Containers[0].Args {
			if name, _, _ := strings.Cut(a, "="); slices.Contains([]string{"--egress", "--provider-ca-file", "--own-identity-namespaces", "--secret-namespaces"}, name) {
				got = append(got, a)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: arguments %q, want %q", values, got, want)
		}
	}
}

func TestExtraVolumes(t *testing.T) {
	pod := into[appsv1.Deployment](t, mustRender(t, valueSets(t)["full"]).get(t, "Deployment/fairway-gateway")).Spec.Template.Spec
	if !slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == "azure-token" && v.Projected != nil }) ||
		!slices.ContainsFunc(pod.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "azure-token" }) {
		t.Errorf("volumes %+v, mounts %+v", pod.Volumes, pod.Containers[0].VolumeMounts)
	}
}

// TestNetworkPolicy: what the gateway calls is restricted only when asked for, and
// identity providers are in it only where providers are.
func TestNetworkPolicy(t *testing.T) {
	for values, want := range map[string]struct{ types, rules int }{
		"": {1, 0},
		"networkPolicy: {egress: {enabled: true}}":                             {2, 5},
		"{networkPolicy: {egress: {enabled: true}}, egress: {enabled: false}}": {2, 3},
	} {
		p := into[networkingv1.NetworkPolicy](t, mustRender(t, values).get(t, "NetworkPolicy/fairway-gateway")).Spec
		if len(p.PolicyTypes) != want.types || len(p.Egress) != want.rules {
			t.Errorf("%q: types %v, rules %+v", values, p.PolicyTypes, p.Egress)
		}
	}
	p := into[networkingv1.NetworkPolicy](t, mustRender(t, valueSets(t)["full"]).get(t, "NetworkPolicy/fairway-gateway")).Spec
	if to := p.Egress[2].To; len(to) != 1 || to[0].IPBlock.CIDR != "10.96.0.1/32" || len(p.Egress[3].To) != 2 {
		t.Errorf("rules %+v", p.Egress)
	}
}

// TestReplicas: the replicas share unless told not to, over a port that only they may
// call, and find each other.
func TestReplicas(t *testing.T) {
	for values, want := range map[string]struct {
		port int32
		all  bool
	}{
		"":                          {9005, false},
		"gateway: {replicas: 1}":    {9005, false}, // there are two during an update
		"gateway: {replicaPort: 0}": {0, false},
		"gateway: {replicaPort: 7000, activeActive: true}": {7000, true},
	} {
		o := mustRender(t, values)
		d := into[appsv1.Deployment](t, o.get(t, "Deployment/fairway-gateway")).Spec.Template
		c := d.Spec.Containers[0]
		for _, arg := range []string{fmt.Sprintf("--replica-port=%d", want.port), fmt.Sprintf("--active-active=%t", want.all)} {
			if !slices.Contains(c.Args, arg) {
				t.Errorf("%q: arguments %q, want %s", values, c.Args, arg)
			}
		}
		var port int32
		for _, p := range c.Ports {
			if p.Name == "replicas" {
				port = p.ContainerPort
			}
		}
		if port != want.port {
			t.Errorf("%q: the container's port is %d, want %d", values, port, want.port)
		}
		var callers []networkingv1.NetworkPolicyPeer
		for _, r := range into[networkingv1.NetworkPolicy](t, o.get(t, "NetworkPolicy/fairway-gateway")).Spec.Ingress {
			if len(r.Ports) == 0 {
				t.Errorf("%q: %+v may call every port", values, r.From)
			}
			if slices.ContainsFunc(r.Ports, func(p networkingv1.NetworkPolicyPort) bool { return p.Port.String() == "replicas" }) {
				callers = append(callers, r.From...)
			}
		}
		if want.port == 0 {
			if len(callers) > 0 {
				t.Errorf("%q: %+v may call a port that there is not", values, callers)
			}
			continue
		}
		if len(callers) != 1 || callers[0].NamespaceSelector != nil || callers[0].PodSelector.MatchLabels["app.kubernetes.io/component"] != "gateway" {
			t.Errorf("%q: the replicas' port may be called by %+v", values, callers)
		} else {
			for k, v := range callers[0].PodSelector.MatchLabels {
				if d.Labels[k] != v {
					t.Errorf("%q: the replicas, by %s, may not call each other", values, k)
				}
			}
		}
		if !slices.ContainsFunc(into[rbacv1.Role](t, o.get(t, "Role/fairway-gateway")).Rules, func(r rbacv1.PolicyRule) bool {
			return slices.Contains(r.Resources, "endpointslices") && slices.Contains(r.Verbs, "watch") && slices.Contains(r.Verbs, "list")
		}) {
			t.Errorf("%q: the replicas cannot find each other", values)
		}
	}
}

func TestCertificates(t *testing.T) {
	for name, tt := range map[string]struct {
		values string
		args   []string
		flag   string
		issued bool
	}{
		"auto without cert-manager": {"", nil, "--tls-secret=fairway-ca", false},
		"auto with cert-manager":    {"", []string{"--api-versions", "cert-manager.io/v1"}, "--tls-dir=/etc/fairway/tls", true},
		"self-managed regardless":   {"certificates: {mode: selfManaged}", []string{"--api-versions", "cert-manager.io/v1"}, "--tls-secret=fairway-ca", false},
		"existing":                  {"certificates: {mode: existingSecret, existingSecret: {name: a, caSecretName: b}}", nil, "--tls-dir=/etc/fairway/tls", false},
		"insecure":                  {"certificates: {mode: insecure}", nil, "--insecure", false},
	} {
		o := mustRender(t, tt.values, tt.args...)
		args := into[appsv1.Deployment](t, o.get(t, "Deployment/fairway-gateway")).Spec.Template.Spec.Containers[0].Args
		n := 0
		for _, a := range args {
			if strings.HasPrefix(a, "--tls-") || a == "--insecure" {
				n++
			}
		}
		if n != 1 || !slices.Contains(args, tt.flag) {
			t.Errorf("%s: arguments %q, want %s", name, args, tt.flag)
		}
		if issued := o["Certificate/fairway-tls"] != nil; issued != tt.issued {
			t.Errorf("%s: certificate requested: %v", name, issued)
		}
	}
}

func TestPools(t *testing.T) {
	o := mustRender(t, valueSets(t)["full"])
	llama := into[inferencev1.InferencePool](t, o.get(t, "InferencePool/llama"))
	if llama.Spec.EndpointPickerRef != nil || llama.Namespace != "default" || len(llama.Spec.TargetPorts) != 2 {
		t.Errorf("pool %+v", llama)
	}
	qwen := into[inferencev1.InferencePool](t, o.get(t, "InferencePool/qwen"))
	ref := qwen.Spec.EndpointPickerRef
	if ref == nil || qwen.Namespace != "fairway-system" {
		t.Fatalf("pool %+v", qwen)
	}
	service := into[corev1.Service](t, o.get(t, "Service/"+string(ref.Name)))
	d := into[appsv1.Deployment](t, o.get(t, "Deployment/"+string(ref.Name)))
	if service.Spec.Ports[0].Port != int32(ref.Port.Number) || ref.FailureMode != "FailOpen" {
		t.Errorf("reference %+v to Service %+v", ref, service.Spec)
	}
	for k, v := range service.Spec.Selector {
		if d.Spec.Template.Labels[k] != v {
			t.Errorf("the Service does not select the pods by %s", k)
		}
	}
	if args := d.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--pool-name=qwen") || !slices.Contains(args, "--pool-namespace=fairway-system") {
		t.Errorf("arguments %q", args)
	}
	if o["Deployment/llama-epp"] != nil {
		t.Error("a pool that Fairway picks for has a picker")
	}
}

// TestEnvoyGatewayValues holds the values for Envoy Gateway to what the chart makes.
func TestEnvoyGatewayValues(t *testing.T) {
	var values struct {
		Config struct {
			EnvoyGateway struct {
				ExtensionManagers []struct {
					BackendResources []struct{ Group, Version, Kind string }
					Service          struct {
						FQDN struct {
							Hostname string
							Port     int32
						}
						TLS struct {
							CertificateRef struct{ Name, Namespace string }
						}
					}
				}
			}
		}
	}
	if err := yaml.Unmarshal([]byte(readFile(t, chart+"/envoy-gateway-values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	s := values.Config.EnvoyGateway.ExtensionManagers[0].Service
	o := mustRender(t, "")
	granted := into[rbacv1.ClusterRole](t, o.get(t, "ClusterRole/fairway-system-fairway-gateway-envoy-gateway")).Rules
	n := 0
	for _, r := range values.Config.EnvoyGateway.ExtensionManagers[0].BackendResources {
		n++
		if !slices.ContainsFunc(granted, func(p rbacv1.PolicyRule) bool {
			return slices.Contains(p.APIGroups, r.Group) && slices.Contains(p.Resources, strings.ToLower(r.Kind)+"s") && slices.Equal(p.Verbs, []string{"get", "list", "watch"})
		}) {
			t.Errorf("Envoy Gateway watches %+v and may not", r)
		}
		if crd := o["CustomResourceDefinition/"+strings.ToLower(r.Kind)+"s."+r.Group]; r.Group == "fairway.dev" {
			v, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
			if len(v) != 1 || v[0].(map[string]any)["name"] != r.Version {
				t.Errorf("%+v is not the version of the CRD", r)
			}
		}
	}
	if n != 3 {
		t.Errorf("Envoy Gateway watches %d kinds", n)
	}
	service := into[corev1.Service](t, o.get(t, "Service/fairway-gateway"))
	if want := service.Name + "." + service.Namespace + ".svc.cluster.local"; s.FQDN.Hostname != want {
		t.Errorf("Envoy Gateway calls %s, want %s", s.FQDN.Hostname, want)
	}
	if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == s.FQDN.Port && p.Name == "extension" }) {
		t.Errorf("the Service has no port %d", s.FQDN.Port)
	}
	args := into[appsv1.Deployment](t, o.get(t, "Deployment/fairway-gateway")).Spec.Template.Spec.Containers[0].Args
	if ref := s.TLS.CertificateRef; !slices.Contains(args, "--tls-secret="+ref.Name) || ref.Namespace != service.Namespace {
		t.Errorf("Envoy Gateway trusts %+v, the arguments are %q", ref, args)
	}
}

func TestEnvoyProxySpecIsMerged(t *testing.T) {
	u := mustRender(t, valueSets(t)["full"]).get(t, "EnvoyProxy/fairway")
	for path, want := range map[string]string{
		"spec.provider.kubernetes.envoyDeployment.pod.labels.team": "ai",
		"spec.provider.kubernetes.envoyDeployment.container.image": "docker.io/envoyproxy/envoy:distroless-v1.40.0",
		"spec.provider.kubernetes.envoyService.type":               "ClusterIP",
		"spec.logging.level.default":                               "warn",
	} {
		if got, _, _ := unstructured.NestedString(u.Object, strings.Split(path, ".")...); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
}

// TestBadValues: the schema says what is wrong before anything is installed.
func TestBadValues(t *testing.T) {
	for values, want := range map[string]string{
		"replicas: 3":                                                    "replicas",
		"gateway: {replica: 3}":                                          "replica",
		"gateway: {replicas: 0}":                                         "replicas",
		"gateway: {replicaPort: 9002}":                                   "replicaPort",
		"gateway: {activeActive: yes please}":                            "activeActive",
		"gateway: {activeActive: true, replicaPort: 0}":                  "needs gateway.replicaPort",
		"gateway: {drainSeconds: 30s}":                                   "drainSeconds",
		"gateway: {logLevel: verbose}":                                   "logLevel",
		"gateway: {extraArgs: [verbose]}":                                "extraArgs",
		"gateway: {env: {A: b}}":                                         "env",
		"gateway: {resources: {request: {}}}":                            "request",
		"image: {pullPolicy: Sometimes}":                                 "pullPolicy",
		"image: {digest: latest}":                                        "digest",
		"certificates: {mode: none}":                                     "mode",
		"certificates: {mode: existingSecret}":                           "existingSecret",
		"certificates: {certManager: {duration: 90d}}":                   "duration",
		"envoyProxy: {drainTimeout: 180}":                                "drainTimeout",
		"egress: {secretNamespaces: ai}":                                 "secretNamespaces",
		"egress: {secretNamespaces: [AI]}":                               "secretNamespaces",
		"egress: {caFile: ca.crt}":                                       "caFile",
		"gateway: {ownIdentityNamespaces: [a, a]}":                       "ownIdentityNamespaces",
		"gateway: {extraVolumes: {a: b}}":                                "extraVolumes",
		"networkPolicy: {egress: {apiServerCIDRs: [10.0.0.1]}}":          "apiServerCIDRs",
		"crds: {install: sometimes}":                                     "install",
		"pools: {llama: {}}":                                             "pools",
		"pools: [{name: llama, targetPorts: [8000]}]":                    "selector",
		"pools: [{name: Llama, selector: {a: b}, targetPorts: [8000]}]":  "name",
		"pools: [{name: llama, selector: {}, targetPorts: [8000]}]":      "selector",
		"pools: [{name: llama, selector: {a: b}, targetPorts: [80000]}]": "targetPorts",
		"pools: [{name: llama, selector: {a: b}, targetPorts: [8000], failureMode: FailOpen}]":    "failureMode",
		"pools: [{name: llama, selector: {a: b}, targetPorts: [8000], epp: {failureMode: open}}]": "failureMode",
		"certificates: {mode: certManager, certManager: {issuerRef: {name: a}}}":                  "caSecretName is required",
	} {
		_, err := render(t, values)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error about %s", values, err, want)
		}
	}
}

// TestSchemaCoversValues: every value has its place in the schema, and the other way.
func TestSchemaCoversValues(t *testing.T) {
	var values map[string]any
	var schema map[string]any
	if err := yaml.Unmarshal([]byte(readFile(t, chart+"/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(readFile(t, chart+"/values.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	var compare func(path string, values, schema map[string]any)
	compare = func(path string, values, schema map[string]any) {
		properties, _ := schema["properties"].(map[string]any)
		if properties == nil {
			return
		}
		for name, sub := range properties {
			v, ok := values[name]
			if !ok && path+name != "global" && path+name != "inference-crds" {
				t.Errorf("%s%s is not in values.yaml", path, name)
			}
			if m, ok := v.(map[string]any); ok && len(m) > 0 {
				compare(path+name+".", m, sub.(map[string]any))
			}
		}
		for name := range values {
			if properties[name] == nil {
				t.Errorf("%s%s is not in the schema", path, name)
			}
		}
	}
	compare("", values, schema)
}
