package test

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
)

// Name splits "namespace/name".
func Name(s string) types.NamespacedName {
	if ns, name, ok := strings.Cut(s, "/"); ok {
		return types.NamespacedName{Namespace: ns, Name: name}
	}
	return types.NamespacedName{Namespace: "default", Name: s}
}

func meta(s string) metav1.ObjectMeta {
	n := Name(s)
	return metav1.ObjectMeta{Namespace: n.Namespace, Name: n.Name}
}

// Namespace is a namespace.
func Namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// PoolOption changes a pool.
type PoolOption func(*inferencev1.InferencePool)

// Pool is an InferencePool without a picker of its own.
func Pool(name string, options ...PoolOption) *inferencev1.InferencePool {
	p := &inferencev1.InferencePool{
		ObjectMeta: meta(name),
		Spec: inferencev1.InferencePoolSpec{
			Selector:    inferencev1.LabelSelector{MatchLabels: map[inferencev1.LabelKey]inferencev1.LabelValue{"app": "server"}},
			TargetPorts: []inferencev1.Port{{Number: 8000}},
		},
	}
	for _, o := range options {
		o(p)
	}
	return p
}

// Picker makes a Service the pool's picker.
func Picker(service string, port int) PoolOption {
	return func(p *inferencev1.InferencePool) {
		p.Spec.EndpointPickerRef = &inferencev1.EndpointPickerRef{
			Name: inferencev1.ObjectName(service),
			Port: &inferencev1.Port{Number: inferencev1.PortNumber(port)},
		}
	}
}

// PickerKind makes an object of any kind the pool's picker.
func PickerKind(group, kind, name string) PoolOption {
	return func(p *inferencev1.InferencePool) {
		p.Spec.EndpointPickerRef = &inferencev1.EndpointPickerRef{
			Group: new(inferencev1.Group(group)),
			Kind:  inferencev1.Kind(kind),
			Name:  inferencev1.ObjectName(name),
		}
	}
}

// Class is a GatewayClass.
func Class(name, controller string) *gatewayv1.GatewayClass {
	return &gatewayv1.GatewayClass{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       gatewayv1.GatewayClassSpec{ControllerName: gatewayv1.GatewayController(controller)},
	}
}

// Gateway is a Gateway with an HTTP listener that takes routes from everywhere.
func Gateway(name, class string) *gatewayv1.Gateway {
	return &gatewayv1.Gateway{
		ObjectMeta: meta(name),
		Spec: gatewayv1.GatewaySpec{
			GatewayClassName: gatewayv1.ObjectName(class),
			Listeners: []gatewayv1.Listener{{
				Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType,
				AllowedRoutes: &gatewayv1.AllowedRoutes{Namespaces: &gatewayv1.RouteNamespaces{From: new(gatewayv1.NamespacesFromAll)}},
			}},
		},
	}
}

// RouteOption changes a route.
type RouteOption func(*gatewayv1.HTTPRoute)

// Route is an HTTPRoute with one rule.
func Route(name string, options ...RouteOption) *gatewayv1.HTTPRoute {
	r := &gatewayv1.HTTPRoute{ObjectMeta: meta(name), Spec: gatewayv1.HTTPRouteSpec{Rules: []gatewayv1.HTTPRouteRule{{}}}}
	for _, o := range options {
		o(r)
	}
	return r
}

// From attaches the route to a Gateway.
func From(gateway string) RouteOption { return FromListener(gateway, "") }

// FromListener attaches the route to a listener of a Gateway.
func FromListener(gateway, listener string) RouteOption {
	return func(r *gatewayv1.HTTPRoute) {
		r.Spec.ParentRefs = append(r.Spec.ParentRefs, ParentRef(gateway, listener))
	}
}

// ParentRef names a Gateway, or one of its listeners.
func ParentRef(gateway, listener string) gatewayv1.ParentReference {
	g := Name(gateway)
	p := gatewayv1.ParentReference{Name: gatewayv1.ObjectName(g.Name), Namespace: new(gatewayv1.Namespace(g.Namespace))}
	if listener != "" {
		p.SectionName = new(gatewayv1.SectionName(listener))
	}
	return p
}

// To adds a pool to the route's last rule.
func To(pool string) RouteOption { return ToKind(inferencev1.GroupName, "InferencePool", pool) }

// ToKind adds a backend of any kind to the route's last rule.
func ToKind(group, kind, name string) RouteOption {
	n := Name(name)
	return func(r *gatewayv1.HTTPRoute) {
		rule := &r.Spec.Rules[len(r.Spec.Rules)-1]
		ref := gatewayv1.HTTPBackendRef{BackendRef: gatewayv1.BackendRef{BackendObjectReference: gatewayv1.BackendObjectReference{
			Group: new(gatewayv1.Group(group)), Kind: new(gatewayv1.Kind(kind)),
			Namespace: new(gatewayv1.Namespace(n.Namespace)), Name: gatewayv1.ObjectName(n.Name),
		}}}
		if kind == "Service" {
			ref.Port = new(gatewayv1.PortNumber(80))
		}
		rule.BackendRefs = append(rule.BackendRefs, ref)
	}
}

// Grant lets HTTPRoutes of a namespace send to pools of the grant's namespace: to
// the given one, or with "" to all.
func Grant(name, fromNamespace, pool string) *gatewayv1beta1.ReferenceGrant {
	g := &gatewayv1beta1.ReferenceGrant{ObjectMeta: meta(name), Spec: gatewayv1beta1.ReferenceGrantSpec{
		From: []gatewayv1beta1.ReferenceGrantFrom{{Group: gatewayv1.GroupName, Kind: "HTTPRoute", Namespace: gatewayv1.Namespace(fromNamespace)}},
		To:   []gatewayv1beta1.ReferenceGrantTo{{Group: inferencev1.GroupName, Kind: "InferencePool"}},
	}}
	if pool != "" {
		g.Spec.To[0].Name = new(gatewayv1.ObjectName(pool))
	}
	return g
}

// Service is a ClusterIP Service.
func Service(name string, ports ...int32) *corev1.Service {
	s := &corev1.Service{ObjectMeta: meta(name)}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "p" + string('a'+rune(len(s.Spec.Ports))), Port: p})
	}
	return s
}
