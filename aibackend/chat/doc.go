// Package chat is the neutral form of a chat completion: a [Request], a
// [Response], the [Event]s of a stream, [Usage] and [Error].
//
// Every schema package reads its own JSON into this form and writes it out of
// this form, so that n client schemas and m provider schemas need n+m packages and
// not n×m translators.
//
// Two conventions hold everywhere:
//
//   - Usage is inclusive: input tokens contain the cached ones and those written to
//     the cache, output tokens contain the reasoning. Schemas that count otherwise
//     convert at their border.
//   - Text in an Event is a JSON string as it stood on the wire, quotes and escapes
//     included, because most of it is copied from one JSON document into another.
//
// The package holds types and small helpers. It must never know a provider, a
// header or a path. Callers: package aibackend and its schema packages.
package chat
