// Package embed is the neutral form of a request for embeddings and of its answer,
// and how OpenAI's API writes both: Parse and AppendResponse. It is for providers that
// speak another schema.
//
// The numbers of a vector are passed as the provider wrote them, or, where the client
// asked for base64, as little-endian 32-bit floats.
//
// The package must never know a provider. Callers: package aibackend and the schema
// packages of providers.
package embed
