// Package gemini writes requests for Vertex AI's generateContent and reads its
// answers: AppendRequest, ParseResponse, StreamReader, ParseError. It is a provider's
// schema only.
//
// Gemini signs its calls of tools and refuses a conversation in which the signature
// is missing. OpenAI's clients carry it in the call's extra_content, Anthropic's in a
// thinking block before the call, marked with chat.GeminiSignature; a call that comes
// back without one, or was made by another model, gets the value that Google defines
// for this case. Signatures of plain text, which Gemini does not ask back, are not
// carried. Thoughts themselves are not sent back either, as Google's own clients do
// not.
//
// Gemini matches results with calls by their order and name, so call IDs are made up
// where it gives none and not sent to it.
//
// The package must never know a path or a header. Caller: package aibackend.
package gemini
