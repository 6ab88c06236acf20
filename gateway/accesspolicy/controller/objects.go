package controller

import (
	"fmt"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// trafficPolicy is Envoy Gateway's kind of what listeners do with clients.
var trafficPolicy = schema.GroupVersionKind{Group: "gateway.envoyproxy.io", Version: "v1alpha1", Kind: "ClientTrafficPolicy"}

const (
	certificateKey = "ca.crt"
	gatewayGroup   = "gateway.networking.k8s.io"
)

// authoritiesName is the name of the ConfigMap with the bundle.
func (l *look) authoritiesName() string { return l.policy.Name + "-client-ca" }

func (l *look) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: l.policy.Namespace, Name: name,
		Labels:          map[string]string{"app.kubernetes.io/managed-by": "fairway"},
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(l.policy, v1alpha1.GroupVersion.WithKind("AIAccessPolicy"))},
	}
}

// writeAuthorities writes the ConfigMap with the bundle. taken says that there is one of
// somebody else.
func (l *look) writeAuthorities() (taken bool, err error) {
	want := map[string]string{certificateKey: string(l.bundle.PEM)}
	var m corev1.ConfigMap
	err = l.o.Live.Get(l.ctx, types.NamespacedName{Namespace: l.policy.Namespace, Name: l.authoritiesName()}, &m)
	switch {
	case apierrors.IsNotFound(err):
		err = l.client.Create(l.ctx, &corev1.ConfigMap{ObjectMeta: l.meta(l.authoritiesName()), Data: want})
	case err != nil:
	case !metav1.IsControlledBy(&m, l.policy):
		l.set(GatewayBound, false, ReasonNameTaken, fmt.Sprintf("There is a ConfigMap %s that this policy did not make: delete or rename one of the two.", m.Name))
		l.programmed(nil, false)
		return true, nil
	case !reflect.DeepEqual(m.Data, want) || len(m.BinaryData) > 0:
		m.Data, m.BinaryData = want, nil
		err = l.client.Update(l.ctx, &m)
	}
	if err != nil {
		return false, fmt.Errorf("write the ConfigMap of authorities: %w", err)
	}
	return false, nil
}

// settings is the spec of a ClientTrafficPolicy that makes the policy so.
func (l *look) settings() map[string]any {
	target := map[string]any{"group": gatewayGroup, "kind": "Gateway", "name": l.result.Target.Gateway.Name}
	if s := l.result.Target.Section; s != "" {
		target["sectionName"] = s
	}
	return map[string]any{
		"targetRefs": []any{target},
		"tls": map[string]any{"clientValidation": map[string]any{
			"caCertificateRefs": []any{map[string]any{"group": "", "kind": "ConfigMap", "name": l.authoritiesName()}},
		}},
		"headers": map[string]any{"xForwardedClientCert": map[string]any{
			"mode": "SanitizeSet", "certDetailsToAdd": []any{"URI"},
		}},
	}
}

// writeTrafficPolicy writes the ClientTrafficPolicy and returns it as it is there; nil
// when there is one of somebody else.
func (l *look) writeTrafficPolicy() (*unstructured.Unstructured, error) {
	own := new(unstructured.Unstructured)
	own.SetGroupVersionKind(trafficPolicy)
	err := l.o.Live.Get(l.ctx, types.NamespacedName{Namespace: l.policy.Namespace, Name: l.policy.Name}, own)
	switch {
	case apierrors.IsNotFound(err):
		m := l.meta(l.policy.Name)
		own.SetNamespace(m.Namespace)
		own.SetName(m.Name)
		own.SetLabels(m.Labels)
		own.SetOwnerReferences(m.OwnerReferences)
		own.Object["spec"] = l.settings()
		err = l.client.Create(l.ctx, own)
	case err != nil:
	case !metav1.IsControlledBy(own, l.policy):
		return nil, nil
	case !reflect.DeepEqual(own.Object["spec"], l.settings()):
		own.Object["spec"] = l.settings()
		err = l.client.Update(l.ctx, own)
	}
	if err != nil {
		return nil, fmt.Errorf("write the ClientTrafficPolicy: %w", err)
	}
	return own, nil
}

// others are the ClientTrafficPolicies of others that are for the policy's listeners.
// There are none where the kind is not installed.
func (l *look) others() ([]unstructured.Unstructured, error) {
	list := new(unstructured.UnstructuredList)
	list.SetGroupVersionKind(trafficPolicy.GroupVersion().WithKind(trafficPolicy.Kind + "List"))
	err := l.o.Live.List(l.ctx, list, client.InNamespace(l.policy.Namespace))
	if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list ClientTrafficPolicies: %w", err)
	}
	return slices.DeleteFunc(list.Items, func(u unstructured.Unstructured) bool {
		return owned(&u) || !l.isFor(&u)
	}), nil
}

// owned says whether a ClientTrafficPolicy is one of some AIAccessPolicy: those that are
// for the same target are told apart by the policies themselves.
func owned(u *unstructured.Unstructured) bool {
	o := metav1.GetControllerOf(u)
	return o != nil && o.Kind == "AIAccessPolicy" && o.APIVersion == v1alpha1.GroupVersion.String()
}

// isFor says whether a ClientTrafficPolicy is for what the policy is for.
func (l *look) isFor(u *unstructured.Unstructured) bool {
	var targets []any
	if one, ok, _ := unstructured.NestedMap(u.Object, "spec", "targetRef"); ok {
		targets = append(targets, one)
	}
	more, _, _ := unstructured.NestedSlice(u.Object, "spec", "targetRefs")
	for _, t := range append(targets, more...) {
		t, _ := t.(map[string]any)
		section, _ := t["sectionName"].(string)
		if t["kind"] == "Gateway" && t["name"] == l.result.Target.Gateway.Name &&
			(section == "" || l.result.Target.Section == "" || section == l.result.Target.Section) {
			return true
		}
	}
	selectors, _, _ := unstructured.NestedSlice(u.Object, "spec", "targetSelectors")
	for _, s := range selectors {
		s, _ := s.(map[string]any)
		want, _, _ := unstructured.NestedStringMap(s, "matchLabels")
		if s["kind"] == "Gateway" && labels.SelectorFromSet(want).Matches(labels.Set(l.gateway.Labels)) {
			return true
		}
	}
	return false
}

// sufficient says whether a ClientTrafficPolicy of somebody else asks for certificates of
// the policy's authorities.
func sufficient(u *unstructured.Unstructured, authorities string) bool {
	validation, _, _ := unstructured.NestedMap(u.Object, "spec", "tls", "clientValidation")
	mode, _ := validation["mode"].(string)
	optional, _ := validation["optional"].(bool)
	expired, _ := validation["allowExpiredCertificate"].(bool)
	refs, _ := validation["caCertificateRefs"].([]any)
	trusts := len(refs) == 1 && slices.ContainsFunc(refs, func(r any) bool {
		m, _ := r.(map[string]any)
		return m["kind"] == "ConfigMap" && m["name"] == authorities && (m["namespace"] == nil || m["namespace"] == u.GetNamespace())
	})
	header, _, _ := unstructured.NestedMap(u.Object, "spec", "headers", "xForwardedClientCert")
	details, _ := header["certDetailsToAdd"].([]any)
	return trusts && !optional && !expired && (mode == "" || mode == "RequireAndVerify") &&
		header["mode"] == "SanitizeSet" && slices.Contains(details, any("URI"))
}

// conflict says what to do about a ClientTrafficPolicy of somebody else.
func (l *look) conflict(u *unstructured.Unstructured) {
	l.set(GatewayBound, false, ReasonConflict, fmt.Sprintf("ClientTrafficPolicy %s is for this Gateway already, and only one can be. Add to its spec: "+
		`tls: {clientValidation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: %s}]}}, headers: {xForwardedClientCert: {mode: SanitizeSet, certDetailsToAdd: [URI]}}. `+
		"Until then, requests of AIRoutes are refused.", u.GetName(), l.authoritiesName()))
}

// programmed finds out whether Envoy Gateway has taken the ClientTrafficPolicy.
func (l *look) programmed(u *unstructured.Unstructured, bound bool) {
	if !bound {
		l.set(Programmed, false, ReasonNotBound, "Another condition says why client certificates are not asked for as they should be; requests that cannot be judged are refused.")
		return
	}
	ancestors, _, _ := unstructured.NestedSlice(u.Object, "status", "ancestors")
	for _, a := range ancestors {
		a, _ := a.(map[string]any)
		name, _, _ := unstructured.NestedString(a, "ancestorRef", "name")
		conditions, _, _ := unstructured.NestedSlice(a, "conditions")
		for _, c := range conditions {
			c, _ := c.(map[string]any)
			if name != l.result.Target.Gateway.Name || c["type"] != Accepted || c["observedGeneration"] != u.GetGeneration() {
				continue
			}
			if c["status"] == string(metav1.ConditionTrue) {
				l.set(Programmed, true, Programmed, "Client certificates are asked for, and models are allowed as the policy says.")
			} else {
				l.set(Programmed, false, ReasonConflict, fmt.Sprintf("Envoy Gateway does not take ClientTrafficPolicy %s: %v", u.GetName(), c["message"]))
			}
			return
		}
	}
	l.set(Programmed, false, ReasonPending, fmt.Sprintf("Envoy Gateway has not taken ClientTrafficPolicy %s yet.", u.GetName()))
}
