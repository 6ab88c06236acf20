// Package report computes numbers from the tokens that a model server reports, with
// expressions in CEL that a configuration has, for the gateway's dynamic metadata: rate
// limits and access logs find there what a request cost.
//
// An expression sees one variable, usage, a map with prompt_tokens, completion_tokens,
// total_tokens and, where some were cached, prompt_tokens_details.cached_tokens. Its
// numbers are doubles, as in JSON. They are the same for every API: Anthropic's
// input_tokens and output_tokens are prompt_tokens and completion_tokens here.
//
// [New] compiles, once; [Reporter.Report] evaluates, as often as wanted and
// concurrently. What cannot be computed is not told, and logged once; it is never an
// error for the client. The package must never see a request or a word of a response.
// Callers: package epp/config, which checks, package epp, which evaluates, and
// cmd/fairway and package epp/run, which compile.
package report
