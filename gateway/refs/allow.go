package refs

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"
)

// Object is an object of any kind; Group is "" for the core group.
type Object struct {
	Group, Kind string
	types.NamespacedName
}

// Allows is whether this grant lets from name to, whatever their kinds. It is false
// within a namespace, where nobody needs a grant, unless the grant says so too.
func Allows(grant *gatewayv1beta1.ReferenceGrant, from, to Object) bool {
	return grant.Namespace == to.Namespace &&
		slices.ContainsFunc(grant.Spec.From, func(f gatewayv1beta1.ReferenceGrantFrom) bool {
			return string(f.Group) == from.Group && string(f.Kind) == from.Kind && string(f.Namespace) == from.Namespace
		}) &&
		slices.ContainsFunc(grant.Spec.To, func(t gatewayv1beta1.ReferenceGrantTo) bool {
			return string(t.Group) == to.Group && string(t.Kind) == to.Kind &&
				(t.Name == nil || *t.Name == "" || string(*t.Name) == to.Name)
		})
}
