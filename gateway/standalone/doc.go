// Package standalone runs Fairway's own Envoy, without a cluster: a small xDS
// server that configures it and a supervisor that keeps its process alive.
//
// What the configuration looks like is package xds's business, who is picked
// package epp's. The package must never touch a request. Callers: cmd/fairway
// (run) and the tests with real Envoy.
package standalone
