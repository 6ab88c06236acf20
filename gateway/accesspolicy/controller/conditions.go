package controller

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/gateway/accesspolicy"
)

// Conditions of a policy.
const (
	Accepted     = "Accepted"
	ResolvedRefs = "ResolvedRefs"
	BundleReady  = "BundleReady"
	GatewayBound = "GatewayBound"
	Programmed   = "Programmed"
)

// Reasons of conditions, besides those of package accesspolicy and the conditions' own
// names.
const (
	ReasonBundleNotFound  = "BundleNotFound"
	ReasonGatewayNotFound = "GatewayNotFound"
	ReasonInvalidBundle   = "InvalidBundle"
	ReasonExpiring        = "ExpiringSoon"
	ReasonNotManaged      = "GatewayNotManaged" // by Envoy Gateway
	ReasonNoTLS           = "NoTLSListener"
	ReasonConflict        = "Conflict"      // another ClientTrafficPolicy is in the way
	ReasonForeign         = "ForeignPolicy" // another one asks for certificates as it should
	ReasonNameTaken       = "NameTaken"
	ReasonNotBound        = "NotBound"
	ReasonPending         = "Pending"
)

// expires is how long before a bundle's last certificate runs out that is a warning.
const expires = 6 * time.Hour

// maxMessage bounds a condition's message.
const maxMessage = 2048

func (l *look) set(kind string, is bool, reason, message string) {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage-3], "") + "..."
	}
	meta.SetStatusCondition(&l.found, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message})
}

// accepted finds out whether the policy is valid.
func (l *look) accepted() bool {
	if len(l.result.Problems) == 0 {
		l.set(Accepted, true, Accepted, "The policy is valid.")
		return true
	}
	var all []string
	for _, p := range l.result.Problems {
		all = append(all, p.Field+": "+p.Message)
	}
	note := ""
	if l.result.Problems[0].Reason == accesspolicy.ReasonInvalid {
		note = " Until it is mended, the policy allows nothing."
	}
	l.set(Accepted, false, l.result.Problems[0].Reason, strings.Join(all, "; ")+"."+note)
	return false
}

// refs finds what the policy names.
func (l *look) refs() error {
	var missing []string
	reason := ""
	ref := &l.policy.Spec.Trust.BundleRef
	data, err := l.entry()
	switch {
	case apierrors.IsForbidden(err):
		missing, reason = append(missing, fmt.Sprintf("spec.trust.bundleRef: %s %s cannot be read: add its namespace to the chart's value egress.secretNamespaces", ref.Kind, ref.Name)), ReasonBundleNotFound
	case err != nil:
		return fmt.Errorf("read the bundle: %w", err)
	case data == nil:
		missing, reason = append(missing, fmt.Sprintf("spec.trust.bundleRef: there is no %s %s with an entry %s", ref.Kind, ref.Name, ref.Key)), ReasonBundleNotFound
	}
	if data == nil {
		l.set(BundleReady, false, ReasonBundleNotFound, "There is no bundle; the listeners keep the last good one.")
	} else {
		l.judgeBundle(data)
	}
	gateway := new(gatewayv1.Gateway)
	switch err := l.client.Get(l.ctx, l.result.Target.Gateway, gateway); {
	case apierrors.IsNotFound(err):
		missing = append(missing, fmt.Sprintf("spec.targetRef: there is no Gateway %s", l.result.Target.Gateway))
		if reason == "" {
			reason = ReasonGatewayNotFound
		}
	case err != nil:
		return fmt.Errorf("read the Gateway: %w", err)
	default:
		l.gateway = gateway
	}
	if len(missing) > 0 {
		l.set(ResolvedRefs, false, reason, strings.Join(missing, "; ")+".")
		return nil
	}
	l.set(ResolvedRefs, true, ResolvedRefs, "All that the policy names is there.")
	return nil
}

// entry is the bundle, nil when there is none.
func (l *look) entry() ([]byte, error) {
	ref := &l.policy.Spec.Trust.BundleRef
	name := types.NamespacedName{Namespace: l.policy.Namespace, Name: ref.Name}
	if ref.Kind == "Secret" {
		var s corev1.Secret
		if err := l.o.Live.Get(l.ctx, name, &s); err != nil {
			return nil, client.IgnoreNotFound(err)
		}
		return s.Data[ref.Key], nil
	}
	var m corev1.ConfigMap
	if err := l.o.Live.Get(l.ctx, name, &m); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if v, ok := m.Data[ref.Key]; ok {
		return []byte(v), nil
	}
	return m.BinaryData[ref.Key], nil
}

func (l *look) judgeBundle(data []byte) {
	ref := &l.policy.Spec.Trust.BundleRef
	b, err := accesspolicy.ParseBundle(data, l.o.Clock.Now())
	if err != nil {
		l.set(BundleReady, false, ReasonInvalidBundle, fmt.Sprintf("The entry %s of %s %s %v; the listeners keep the last good bundle.", ref.Key, ref.Kind, ref.Name, err))
		return
	}
	l.bundle = b
	until := b.Expires.UTC().Format(time.RFC3339)
	if b.Expires.Sub(l.o.Clock.Now()) < expires {
		l.set(BundleReady, true, ReasonExpiring, fmt.Sprintf("The last valid certificate of the bundle runs out at %s; after that, nobody may call.", until))
		return
	}
	l.set(BundleReady, true, BundleReady, fmt.Sprintf("Certificates of authorities that are valid: %d, the last one until %s.", b.Valid, until))
}

// bound finds out whether the Gateway's listeners can ask for certificates.
func (l *look) bound() (bool, error) {
	if l.gateway == nil {
		l.set(GatewayBound, false, ReasonGatewayNotFound, "There is no such Gateway.")
		return false, nil
	}
	var class gatewayv1.GatewayClass
	err := l.client.Get(l.ctx, types.NamespacedName{Name: string(l.gateway.Spec.GatewayClassName)}, &class)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("read the GatewayClass: %w", err)
	}
	if err != nil || string(class.Spec.ControllerName) != l.o.GatewayController {
		l.set(GatewayBound, false, ReasonNotManaged, fmt.Sprintf("Gateway %s is not of a class of %s, which alone can be guarded.", l.result.Target.Gateway, l.o.GatewayController))
		return false, nil
	}
	able, unable := 0, []string(nil)
	for _, x := range l.gateway.Spec.Listeners {
		switch {
		case l.result.Target.Section != "" && string(x.Name) != l.result.Target.Section:
		case x.Protocol == gatewayv1.HTTPSProtocolType && x.TLS != nil && (x.TLS.Mode == nil || *x.TLS.Mode == gatewayv1.TLSModeTerminate):
			able++
		default:
			unable = append(unable, string(x.Name))
		}
	}
	if able == 0 {
		l.set(GatewayBound, false, ReasonNoTLS, "No listener that the policy is for has protocol HTTPS and terminates TLS, without which there are no client certificates; requests of AIRoutes are refused.")
		return false, nil
	}
	message := "The Gateway's listeners can ask for client certificates."
	if len(unable) > 0 {
		message += " These cannot, and requests of AIRoutes are refused there: " + strings.Join(unable, ", ") + "."
	}
	l.set(GatewayBound, true, GatewayBound, message)
	return true, nil
}
