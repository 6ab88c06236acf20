// Package index keeps a prefix index true to what engines report of their caches.
//
// An engine names its blocks by hashes of its own, which depend on its version,
// its settings and its seed. So a block's identity is computed anew, from the
// token ids in the event: the prompt is cut into blocks of [Options].BlockTokens,
// and a block's key is a hash of the key before it and of its tokens. The first
// one follows a seed, the name of the model or LoRA adapter. The same is done with
// a request's tokens ([Index.Keys]), and equal keys mean equal prefixes, whatever
// engine, block size and hash algorithm are behind them. An engine's block is only
// a handle: a map from it to our keys, for each endpoint, finds what its removal
// concerns.
//
// What is not told is not assumed: a block whose parent is unknown is ignored, and
// so are blocks beyond an endpoint's bound, those of which it is not told which tokens
// are theirs, and those that have the name of another. All that costs hits and invents
// none. An engine of which much has to be ignored is not exact: a guess is better.
//
// The package must never do I/O or start a goroutine. [Index] is safe for
// concurrent use; a lookup takes no lock, as in package scheduler/prefix. Callers:
// package kvevents (as its sink), package epp.
package index
