package xds

// Namespaces of the dynamic metadata in which access logs and rate limits find, for
// requests of rules, who answers and what that costs. Both the picker and the
// translators write them, while an answer passes and whenever its numbers change.
const (
	// AnswerNamespace tells who answers and the tokens that it reported: strings
	// backend, schema, rule, operation and model, and numbers input_tokens,
	// output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens and
	// total_tokens. What is not known is not there.
	AnswerNamespace = "dev.fairway"
	// CostNamespace has the rule's costs, numbers by their names.
	CostNamespace = "dev.fairway.costs"
)
