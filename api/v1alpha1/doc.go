// Package v1alpha1 holds the API types that Fairway shares with llm-d: the file
// kind EndpointPickerConfig, in every version llm-d has published.
//
// The types say what may be written, nothing about what it does: package
// epp/config decodes, checks and builds. This package must never import another
// one of Fairway's.
package v1alpha1
