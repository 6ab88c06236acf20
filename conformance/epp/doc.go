// Package epp judges endpoint pickers from outside, by what they say on the wire.
//
// It plays the gateway's part of the Gateway API Inference Extension's endpoint
// picker protocol (proposal 004) against any address: it opens ext_proc streams
// with full duplex bodies as Envoy does, and checks the answers. Each [Case] cites
// the clause it stands for and a level: a picker that fails a MUST breaks gateways
// that go by the protocol.
//
// [Run] is the whole of it; the command `fairway conformance epp` and the tests of
// Fairway's own picker call it. The package uses the generated protocol code and
// nothing of Fairway's own, so that no mistake is shared between judge and judged.
// It must never trust the picker: what it sends is bounded and quoted, and a
// picker that says nothing costs one timeout per case.
package epp
