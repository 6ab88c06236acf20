// Package engine models how a vLLM server spends its time and its KV cache, as a
// discrete-event state machine without a clock.
//
// # The model
//
// The engine runs steps. A step decodes one token for every running sequence
// whose prompt is computed, and prefills up to [Config.ChunkTokens] prompt tokens
// (less one for each decode) of the other running sequences, first come first
// served. Its duration is
//
//	StepBase + prefill tokens / PrefillRate +
//	decoding sequences × StepPerSeq + their context tokens × StepPerContextToken
//
// plus [Config.LoRALoad] for every adapter it brings in and [Config.EncodePerItem] for
// every image it encodes. A prompt is admitted
// when a sequence slot, an adapter slot and KV blocks for the whole prompt are
// available. Leading blocks found in the prefix cache are shared instead of
// computed, but never the whole prompt: its last token is always computed. Full
// prompt blocks enter the cache when they are computed and stay after the
// sequence ends, until their room is needed; the least recently used goes first,
// the tail of a chain before its head. When a decode needs a block and there is
// none, the sequence admitted last is preempted: it loses its blocks, returns to
// the front of the queue and computes its prompt and output again.
//
// Where another server has computed a prompt ([Request].Remote), or the CPU's memory
// has some of it, that part is not computed: it arrives Config.TransferPerToken a
// token later, without taking part in steps, and its blocks enter the cache then.
// Only its last token is computed. A request with Hold keeps its blocks when it has
// ended, for another server to fetch.
//
// # Driving it
//
// The driver owns time: it calls [Engine.Submit] as requests arrive,
// [Engine.Start] when no step is running, and [Engine.Finish] at the end that
// Start returned. What happens is told through [Events].
//
// The package must never read a clock, start a goroutine, use randomness or do
// I/O: the same calls give the same events. Callers: package sim/replay in
// simulated time, package sim/server in real time.
package engine
