package airoute

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/refs"
)

// world is a cluster with the objects of a text. Namespace trusted may use the gateway's
// own identity.
func world(t testing.TB, text string) *Input {
	t.Helper()
	in := &Input{ClusterDomain: "cluster.local", OwnIdentity: func(ns string) bool { return ns == "trusted" }}
	pools := map[types.NamespacedName]*inferencev1.InferencePool{}
	services := map[types.NamespacedName]*corev1.Service{}
	configMaps := map[types.NamespacedName]*corev1.ConfigMap{}
	secrets := map[types.NamespacedName]*corev1.Secret{}
	var grants []*gatewayv1beta1.ReferenceGrant
	text = strings.ReplaceAll(text, "CERTIFICATE-HERE", strings.ReplaceAll(strings.TrimSpace(certificate(t)), "\n", "\n    "))
	for doc := range strings.SplitSeq(text, "\n---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		read := func(x metav1.Object) {
			if err := yaml.UnmarshalStrict([]byte(doc), x); err != nil {
				t.Fatalf("%v in\n%s", err, doc)
			}
			if x.GetNamespace() == "" {
				x.SetNamespace("default")
			}
		}
		switch kind.Kind {
		case "AIRoute":
			in.Routes = append(in.Routes, &v1alpha1.AIRoute{})
			read(in.Routes[len(in.Routes)-1])
		case "AIBackend":
			in.Backends = append(in.Backends, &v1alpha1.AIBackend{})
			read(in.Backends[len(in.Backends)-1])
		case "HTTPRoute":
			in.HTTPRoutes = append(in.HTTPRoutes, &gatewayv1.HTTPRoute{})
			read(in.HTTPRoutes[len(in.HTTPRoutes)-1])
		case "InferencePool":
			x := &inferencev1.InferencePool{}
			read(x)
			pools[nameOf(x)] = x
		case "Service":
			x := &corev1.Service{}
			read(x)
			services[nameOf(x)] = x
		case "ConfigMap":
			x := &corev1.ConfigMap{}
			read(x)
			configMaps[nameOf(x)] = x
		case "Secret":
			x := &corev1.Secret{}
			read(x)
			secrets[nameOf(x)] = x
		case "ReferenceGrant":
			x := &gatewayv1beta1.ReferenceGrant{}
			read(x)
			grants = append(grants, x)
		default:
			t.Fatalf("what is\n%s", doc)
		}
	}
	in.Pool = func(n types.NamespacedName) *inferencev1.InferencePool { return pools[n] }
	in.Service = func(n types.NamespacedName) *corev1.Service { return services[n] }
	in.ConfigMap = func(n types.NamespacedName) *corev1.ConfigMap { return configMaps[n] }
	in.SecretKeys = func(n types.NamespacedName) (keys []string, ok bool) {
		s, ok := secrets[n]
		if ok {
			for k, v := range s.StringData {
				if v != "" {
					keys = append(keys, k)
				}
			}
		}
		return keys, ok
	}
	in.Certificate = func(n types.NamespacedName) []byte {
		if s := secrets[n]; s != nil {
			return []byte(s.StringData[certificateKey])
		}
		return nil
	}
	in.Granted = func(from, to Reference) bool {
		return from.Namespace == to.Namespace || slices.ContainsFunc(grants, func(g *gatewayv1beta1.ReferenceGrant) bool {
			return refs.Allows(g, refs.Object(from), refs.Object(to))
		})
	}
	return in
}

func certificate(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<32, 0), IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, x, x, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
