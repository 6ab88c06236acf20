// Package airoute turns AIRoute and AIBackend objects, or the providers that an
// environment configures, into rules and backends: which request goes where, in which
// order of priority, and how each backend is spoken to.
//
// There is one builder, and three ways to it. [Compile] takes what a cluster has and is
// tolerant: what is wrong with one object costs that object alone, and is a [Problem]
// for its status. [FromObjects] takes a file's objects, checks them as the API server
// would, and refuses the file by the line and name of the field. [FromProviders] makes
// rules of the model names that providers are known for. [Config.Routing] is what Envoy
// must know of the result.
//
// # Which rule takes a request
//
// Within an AIRoute, rules are tried in order, and the first that matches takes the
// request; a rule without matches takes all. Where the AIRoutes of several teams share a
// host, each offers that one rule, and the one that says most wins ([Config.FindIn]):
//
//  1. an exact model, before the longest prefix of a model, before a regular expression,
//     before a match without a model;
//  2. then the match with more headers;
//  3. then an exact path, before the longest prefix of a path, before a regular
//     expression, before a match without a path;
//  4. then the AIRoute that is older, then the first by "namespace/name".
//
// A request that names no model is never one for a model.
//
// # Where it goes
//
// A rule's backendRefs of the lowest priority share its requests by weight; the next
// priority is tried for the reasons that fallback.when names. A backendRef that cannot be
// served, because it does not exist, may not be named from there or has a problem of
// its own, is left out, as is one of weight 0, and the others take its share; a rule
// whose backendRefs are all left out answers 500. An AIRoute that is invalid in itself,
// with a problem of condition Accepted, is not served at all. A problem of an AIBackend,
// of any condition, is one for every rule that leads to it.
//
// timeouts.backendRequest and fallback.firstByteTimeout are one bound under two names,
// and only one of them may be set: how long a backend may take until its answer begins.
// An answer that has begun is not cut short by it, because nothing could be tried
// instead. timeouts.request bounds the whole.
//
// An HTTPRoute may name AIBackends itself. The rules that do ([HTTPRouteRuleName]) have
// one group, and Envoy has matched them.
//
// # Paths
//
// Envoy asks for the rule only on the paths that an AIRoute's rules match, and on those
// of the AI APIs (OpenAI's, Anthropic's, those for ranking and tokens) where a match has
// none. An AIRoute with more than 64 different paths gets all paths of its hosts.
//
// # Who may use what
//
// References into other namespaces need a ReferenceGrant: from an AIRoute or HTTPRoute
// to an AIBackend or InferencePool, from an AIBackend to a Service or InferencePool. The
// host name of a Service is a reference to it, also as an OpenID Connect issuer's, and so
// is an endpointPicker. Secrets and certificates are always of the
// AIBackend's own namespace. Credentials that are the gateway's own are only for the
// namespaces that [Input].OwnIdentity names, and host names that lead to the gateway's
// own pod or node for none; from a file, both are the user's own.
//
// The package is pure: it reads no file, no environment and no clock, and must never
// see a credential's value, except those that a file's text has. Callers: cmd/fairway,
// gateway/airoute/kube, and package egress, which finds the rule of a request.
package airoute
