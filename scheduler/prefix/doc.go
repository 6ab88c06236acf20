// Package prefix knows which endpoint holds which prompt blocks in its KV cache.
//
// A prompt is a chain of blocks; a block's hash covers everything before it, so
// equal hashes mean equal prefixes. The index is inverted (block hash → set of
// endpoint slots) and knows every endpoint's capacity in tokens, so it forgets
// what the engine has forgotten. Two writers feed one structure: Insert records
// our own dispatches (approximate), Store and Remove follow an engine's cache
// events (exact).
//
// The package must never do I/O or read a clock. It is safe for concurrent use;
// no lock is global, and a lookup takes none, unless a writer is interrupted in the
// midst of what a lookup must not see. Callers: package scheduler (lookup), package
// epp and sim/replay (writers), package pool (endpoints come, go, and report
// capacity).
package prefix
