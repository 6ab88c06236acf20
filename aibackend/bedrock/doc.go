// Package bedrock writes requests for AWS Bedrock's Converse API and reads its
// answers: AppendRequest, ParseResponse, StreamReader, ParseError. It is a provider's
// schema only.
//
// Converse is one schema for many models, with members that only some understand.
// What is Claude's alone (thinking, top_k, disable_parallel_tool_use) goes in
// additionalModelRequestFields; the model's name tells whether it is a Claude, and for
// others such fields are dropped or refused.
//
// The package must never know a path; it knows the one header that names an error.
// Caller: package aibackend.
package bedrock
