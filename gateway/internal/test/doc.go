// Package test builds Kubernetes objects for the tests of the gateway packages, so
// that a test shows only what it is about. Names are "namespace/name", or a name in
// namespace "default".
//
// The product must never import it.
package test
