// Package cohere writes requests for Cohere's models and reads their answers: those
// for embeddings at Cohere itself and on AWS Bedrock, which differ little, and those
// for ranking documents on AWS Bedrock. Clients of its rerank API are answered here
// too. Chat with Cohere goes through its address for OpenAI's clients, and is not here.
//
// The package must never know a path or a header. Caller: package aibackend.
package cohere
