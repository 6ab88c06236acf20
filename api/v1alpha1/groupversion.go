package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of AIRoute and AIBackend.
const GroupName = "fairway.dev"

// GroupVersion is the group and version of AIRoute and AIBackend.
var GroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

// AddToScheme adds AIRoute and AIBackend to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &AIRoute{}, &AIRouteList{}, &AIBackend{}, &AIBackendList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
