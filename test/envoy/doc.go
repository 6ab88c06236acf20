// Package envoy tests the gateway with a real Envoy process: what package xds
// configures and package standalone supervises, with scripted pickers and model
// servers around it. It holds only tests.
//
// The binary is found as `fairway run` finds it. Where FAIRWAY_ENVOY or CI is set, as
// by `make test`, a missing binary fails the tests; otherwise it skips them.
package envoy
