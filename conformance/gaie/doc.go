// Package gaie runs the Gateway API Inference Extension's conformance suite, which
// judges gateways, from an ordinary binary.
//
// The suite is a Go test: it wants a *testing.T, reads global flags, can run once in
// a process, and prints to stdout. Therefore it runs in a child process, this binary
// again: [Run] starts the child, reads the test log that it prints, shows progress
// and collects a [Result]; [Child] is all that the child does. The suite itself is
// the unchanged module, with its own manifests, options and report.
//
// With [Options].PickerImage the suite runs once more with Fairway's endpoint picker
// where its manifests have the reference picker; [WithPicker] derives those manifests.
//
// After the suite come tests of our own ([ExtraTests]) for promises that the suite
// does not check. They are never in the standard report.
//
// The package must never skip a test, change a manifest that judges the gateway, or
// let a result count that the suite did not give. Caller: `fairway conformance gaie`.
package gaie
