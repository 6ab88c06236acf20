// Package v1alpha1 holds Fairway's API types: AIRoute, AIBackend and AIAccessPolicy, Kubernetes
// objects of group fairway.dev, and the file kind EndpointPickerConfig that Fairway
// shares with llm-d, in every version llm-d has published.
//
// The types say what may be written, nothing about what it does: package
// epp/config decodes, checks and builds an EndpointPickerConfig, and the validation
// rules of the objects are in their definitions, which are generated from here. This
// package must never import another one of Fairway's.
//
// +kubebuilder:object:generate=true
// +groupName=fairway.dev
package v1alpha1
