// Package convert turns the objects of Envoy AI Gateway into AIRoutes and AIBackends:
// AIGatewayRoute, AIServiceBackend and BackendSecurityPolicy of every published version,
// with the Backends of Envoy Gateway and the BackendTLSPolicies that they lead to.
//
// What cannot be carried over is said, field by field, and never dropped in silence:
// every field that nothing reads is found at the end. The result is what the input says,
// not what it may have meant; where the two gateways differ in defaults, the defaults of
// the input's are written out.
//
// The package is pure: it reads no file, knows no cluster and resolves no Secret, whose
// values it must never put into a report. The caller is cmd/fairway.
package convert
