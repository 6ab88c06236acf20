// Package anthropic reads and writes Anthropic's messages: as a client's schema
// (ParseRequest, AppendResponse, StreamWriter, AppendError) and as a provider's
// (AppendRequest, ParseResponse, StreamReader, ParseError). Bedrock's InvokeModel and
// Vertex's rawPredict carry the same schema; [Variant] says in what they differ.
//
// Gemini signs calls, for which Anthropic's schema has no place: the signature is
// carried by a thinking block before the call, marked as Gemini's (see package
// gemini).
//
// The package must never know a path or a header. Caller: package aibackend.
package anthropic
