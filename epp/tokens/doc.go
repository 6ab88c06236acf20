// Package tokens finds the token ids of a request's prompt.
//
// An index of what engines' KV caches hold is keyed by token ids, so a request
// needs them before an endpoint is chosen. A [Source] gives them:
//
//   - [Engine] asks the pool's own endpoints, which alone know the model's
//     tokenizer and chat template, at their render routes or at /tokenize. Answers
//     are cached.
//   - [Local] reads a tokenizer file (package epp/tokens/bpe). It knows no chat
//     template, so it serves plain completions only.
//
// # Time
//
// A source has a budget for each request. An Engine whose answer is late says
// [ErrLate] at the end of the budget; the answer still fills the cache, for the
// next request with this prompt. Nothing here waits for anything else.
//
// # What the cache is keyed by
//
// The key is a hash of exactly what the endpoint is asked: the API, the model and
// the request's members without those that only sampling reads. A conversation's
// next turn is another prompt and is asked anew: a chat template may change what
// is before the last message when another one follows, as templates do that drop
// earlier reasoning, so ids of a shorter conversation prove nothing about a longer
// one.
//
// # Credentials
//
// A question is asked with the Authorization header of the request that it is about.
// That is no part of the cache's key, of an answer or of an error, and whoever is denied
// is not remembered: another request with the same prompt is asked about anew. Whose
// endpoints may see it is the caller's to know.
//
// # Hostile peers
//
// Requests, answers, the number of questions on their way, and the cache are
// bounded. Ids are checked for their form and number, images for their place; a
// wrong answer costs cache hits and nothing else. Redirects are not followed.
//
// The package must never log or keep a prompt's text longer than a question is on
// its way, choose an endpoint for a request, or change a request. Callers: package
// epp.
package tokens
