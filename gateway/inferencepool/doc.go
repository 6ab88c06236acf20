// Package inferencepool writes the status of InferencePools: one entry for every
// Gateway through which requests can reach the pool, saying whether the Gateway
// serves it and whether its endpointPickerRef leads anywhere.
//
// A Gateway is a parent of a pool when
//
//   - its GatewayClass is Envoy Gateway's (Options.GatewayController),
//   - some HTTPRoute that is not being deleted names it in parentRefs and sends to
//     the pool in backendRefs, and
//   - that route is in the pool's namespace, or a ReferenceGrant there allows it.
//
// A route of another namespace without a grant makes no parent: it is not
// associated with the pool, its own status says RefNotPermitted, and the 32 entries
// of a pool must not be at the mercy of other namespaces.
//
// A reconciliation gathers facts from the cache (attachment.go), derives each
// condition by a chain of small pure functions of which the first that objects
// wins (conditions.go), merges the result with what others wrote (merge.go), and
// writes only if that changed anything. The list of parents is atomic, so a write
// carries the resource version that was read, and a conflict starts over; entries
// of other controllers keep their content and their order.
//
// Only the leader writes. The package must never change an object's spec, another
// controller's entry, or any object but InferencePools' status and events. Caller:
// cmd/fairway.
package inferencepool
