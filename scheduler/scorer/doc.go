// Package scorer holds the scorers of llm-d's catalogue, under their names, with
// their formulas and defaults.
//
// A scorer gives every candidate a value from 0 to 1, higher is better. It must
// never remove a candidate, do I/O, or keep anything of a cycle. [ContextLengthFilter]
// is a filter as well, as published: its profile has it in both places.
//
// An endpoint whose metrics are not known (scheduler.Metrics.Known) must neither
// look idle, which would draw all traffic to it, nor be shunned, which would
// keep it from ever being used. So its queue and batch are taken to be no shorter
// than what this process itself has in flight there, and its KV cache to be no
// emptier than the other candidates' on average.
//
// Caller: scheduler.Profile, built by package epp/config (and by sim/replay for
// comparisons).
package scorer
