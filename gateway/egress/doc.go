// Package egress carries requests to AI providers: it finds the rule of a request, and
// for each try that Envoy makes, puts the request into the provider's API and signs it,
// and puts the answer back into the API that the client speaks.
//
// [Router] stands before the pools' pickers, our own and those of others. It names the
// rule in a header, for Envoy's routes, passes over a pool that cannot take the request
// now and a provider that cools down, tells the client of them ([FallbackHeader]), and
// leaves the request as it is in dynamic metadata ([Namespace]), which no client can
// write. Where a target has a name of its own for the model, that is put into the body
// at its place; the answer carries the name that the server gives it.
//
// [Translators] stand behind the ext_proc filter of a provider's cluster, which Envoy
// runs once for every try. Envoy keeps what a try changed of the headers, so every try
// is made anew of what the metadata says: path and headers of the client, and no
// provider's credential. A pool that comes after a provider has such a filter, too,
// which does no more than that. Bodies are Envoy's copies of what the first target was
// to get: the client's, but for the model's name, which every try puts right, and for
// what a foreign picker changed in it, which stays.
//
// [Backends] keeps the set of backends and their credentials, which are made, renewed and
// withdrawn one by one: what is wrong with one costs its own requests alone. [Cooling]
// knows from the tries which of them are better left alone for a while, and [Tries] why
// those before an answer failed. An [Observer] is told how each try went.
//
// A request that cannot be translated or signed is answered here and never leaves:
// not in the client's own schema, not without the provider's credential, not with
// that of another.
//
// The package joins aibackend (schemas, translation), aibackend/credentials, airoute
// and extproc. It never logs a header's value, a body or a credential. Callers: package
// parts, which joins it for every process, and genai, which observes.
package egress
