// Package server is a vLLM-compatible HTTP server without a model.
//
// It answers the OpenAI and Anthropic APIs that vLLM serves, with invented text,
// at the pace of package engine in real time (or faster, with [Config.Speed]), and
// it shows vLLM's metrics. It exists to try and to test a router: queues build up,
// prompts share prefixes, the KV cache fills, adapters load, and on request it
// fails as servers do ([Failures]).
//
// # What it does not model
//
//   - Any model: text is filler, embeddings are noise, tools are never called,
//     images and audio are a fixed number of equal tokens.
//   - A tokenizer: a token is 4 bytes of the prompt's text, whatever the language.
//     Its id is these bytes as a little-endian number, the last token's padded with
//     zeros; /tokenize, the render endpoints and KV cache events all say so.
//   - Variance of a GPU and of kernels: a step's duration is a formula of its
//     size. CUDA graphs, compilation and warm-up take no time.
//   - Speculative decoding, quantisation, sliding windows, several model parallel
//     ranks, and the cost of talking between ranks.
//   - The network between prefill and decode servers: a token takes the same time
//     however many are on their way. Output tokens never enter the prefix cache.
//   - Sampling parameters, stop strings, logprobs, guided decoding, priorities:
//     they are accepted and have no effect.
//   - Authentication and TLS.
//
// # Several servers for one request
//
// A server can compute a prompt for another ([RolePrefill]), which fetches it
// ([RoleDecode]), or encode images for it ([RoleEncode]); [Config].Sidecar adds what
// llm-d's sidecar does with the request headers that name the others. Such a server
// calls whom headers and kv_transfer_params name: their answers are bounded and not
// trusted, but nothing keeps a client from naming any address.
//
// The package must never be used to serve people: it is for tests and trials. It
// keeps no goroutine and no timer while it has nothing to do. Callers:
// cmd/fairway (sim, and run for its simulated endpoints) and tests.
package server
