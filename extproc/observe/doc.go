// Package observe follows a model server's response body as its chunks pass: the
// first generated token, the number of streamed events that carried tokens, and
// the usage the server reports. It understands server-sent events and plain
// JSON, split at any byte, in OpenAI's and Anthropic's shapes.
//
// Everything is decided by a key's path in the event's JSON, never by a look for
// text, so no generated text can pass for a usage or a token:
//
//   - An event carries a token when choices[].delta has content, reasoning,
//     reasoning_content, refusal, tool_calls, function_call or audio that is not
//     empty (chat completions); when choices[].text is not empty (completions);
//     when type is "response.*.delta" and delta is not empty (responses); or when
//     type is "content_block_delta" and delta has something that is not empty
//     besides its own type (messages). Not empty is a string, an array or an
//     object with something in it.
//   - Usage is read from usage, response.usage and message.usage. A later report
//     overrides the counts it names and leaves the others.
//
// The answers to the gRPC calls that package scan knows are messages with the same JSON
// in them, whole or as server-sent events, or with token ids and counts in fields. There
// a message carries a token when it has an id, or text that is not empty. What it counts
// is taken at its end, and the highest count stays; generated tokens are those that the
// complete answers count, or the ids in all chunks, where that is more.
//
// The response itself is not judged: what is not JSON carries nothing.
//
// The package must never change or keep a byte of the response, and its memory
// is bounded, whatever the length of an event. Caller: package extproc.
package observe
