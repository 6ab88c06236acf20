// Package openai reads and writes OpenAI's chat completions: as a client's schema
// (ParseRequest, AppendResponse, StreamWriter, AppendError) and as a provider's
// (AppendRequest, ParseResponse, StreamReader, ParseError). Of the answers of other APIs,
// which only pass, it reads the usage and the failures (ParseUsage, ReadEvent).
//
// OpenAI's schema has no place for signed reasoning. It is carried as other gateways
// and the servers of open models do: the text as reasoning_content, and the blocks
// with their signatures as thinking_blocks, a list of
// {"type":"thinking","thinking":…,"signature":…} and
// {"type":"redacted_thinking","data":…}; in a stream each delta of the list has an
// index, and pieces of one index are to be joined. A client that sends thinking_blocks
// back in its assistant messages keeps the model's reasoning alive over tool calls.
// Gemini's signature of a call goes in the call's extra_content.google.thought_signature,
// as in Google's own OpenAI endpoint. Prompt cache marks are cache_control members,
// as in Anthropic's schema, on content parts and tools; prompt_cache_breakpoint means
// the same. Reasoning is asked for with reasoning_effort, or a thinking object as in
// Anthropic's schema.
//
// The package must never know a path or a header. Caller: package aibackend.
package openai
