package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of AIRoute, AIBackend and AIAccessPolicy.
const GroupName = "fairway.dev"

// GroupVersion is the group and version of AIRoute, AIBackend and AIAccessPolicy.
var GroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

// AddToScheme adds AIRoute, AIBackend and AIAccessPolicy to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &AIRoute{}, &AIRouteList{}, &AIBackend{}, &AIBackendList{}, &AIAccessPolicy{}, &AIAccessPolicyList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
