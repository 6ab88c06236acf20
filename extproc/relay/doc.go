// Package relay consults endpoint pickers of others: it is the ext_proc client
// behind extproc.Options.Foreign.
//
// Towards Envoy stands the extproc server, in the arrangement of bodies that fails
// open at every moment. Towards a foreign picker, this package speaks as Envoy does
// where the Gateway API Inference Extension's endpoint picker protocol is followed
// to the letter: bodies FULL_DUPLEX_STREAMED both ways, sent without waiting for
// answers. What it takes for an answer is more than the protocol says: bodies
// streamed back or only acknowledged, or replaced as buffered ones are; the pick as
// a header, as metadata or both; answers in any order, too many or too few of them,
// and an early end of the stream. See [verdict] for when an answer is complete.
//
// The [Registry] knows which pool is answered for by which picker. Pools that name
// the same picker share one connection, one circuit breaker and its limits. A
// request's conversation is an exchange: one goroutine sends what the request's own
// one hands over, another reads. Whatever the picker does, the request goes on by
// its pool's failure mode and within its timeout; in the response phase a picker
// that fails is left behind and the response passes as it was, from the next byte.
//
// A request whose stream breaks before the picker has said anything is sent once more,
// over a connection that all such requests wait for together; see [exchange.again].
//
// Original bodies are kept by reference until the picker has answered and compared
// with what it streams back, so that an unchanged body, the common case, is neither
// stored twice nor sent to Envoy again.
//
// The package must never trust a picker: all that it sends is bounded and checked,
// and nothing of it is logged but its errors' text, clipped. It knows no Kubernetes
// object, which its caller, package gateway, translates into Pickers.
package relay
