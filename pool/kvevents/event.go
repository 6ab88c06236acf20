package kvevents

// Sink is told what engines' caches hold. Calls for one endpoint come one after
// another; those for different endpoints at the same time. A sink that blocks
// holds up one of a few workers.
//
// An endpoint begins as lost. Live says that it is followed from here on, with an
// empty cache as far as the sink has been told; Stored, Removed, Cleared and Unread
// come only between Live and Lost.
type Sink interface {
	// Stored says that blocks entered the cache. e is valid during the call.
	Stored(endpoint string, e *Stored)
	// Removed says that blocks left it. e is valid during the call.
	Removed(endpoint string, e *Removed)
	// Cleared says that the cache is empty.
	Cleared(endpoint string)
	// Unread says that so many events of a message were not understood: whatever they
	// told, the sink does not know it.
	Unread(endpoint string, events int)
	// Lost says that what was told of the endpoint counts no more: its connection
	// has ended, events were lost, or the endpoint is gone.
	Lost(endpoint string)
	// Live says that the endpoint's events are followed.
	Live(endpoint string)
}

// Stored is an engine's report that blocks entered its cache.
type Stored struct {
	// Hashes are the engine's own names of the blocks, in the order of the prompt.
	// They mean nothing outside of the endpoint.
	Hashes []uint64
	// Parent is the block before the first one, when HasParent is set; without,
	// the first block begins a prompt.
	Parent    uint64
	HasParent bool
	// Tokens are the blocks' token ids, BlockSize for each. They are empty where an
	// engine copies blocks of which it has told before to another medium; then
	// Parent and BlockSize say nothing either.
	Tokens    []uint32
	BlockSize int
	// Model is what the endpoint's settings or else the event's topic name, or "".
	Model string
	// LoRA is the adapter's name, "" for the base model. An engine that reports
	// only an adapter's number sets LoRAID, which is 0 otherwise.
	LoRA   string
	LoRAID int64
	// Medium is where the blocks are, in lower case; "gpu" when the engine does
	// not say.
	Medium string
	// Extra is, for each block, what the engine's hash covers besides the tokens;
	// nil when no block has any.
	Extra [][]Extra
	// Rank is the data parallel rank.
	Rank int
}

// Extra is one part of a block's identity that is not a token: the hash of an
// image, a cache salt, or an adapter's name.
type Extra struct {
	// Key is valid during the call.
	Key []byte
	// Offset is where the item begins, in tokens from the block's start or as the
	// engine counts it, when HasOffset is set.
	Offset    int64
	HasOffset bool
}

// Removed is an engine's report that blocks left its cache.
type Removed struct {
	// Hashes are the engine's names of the blocks, as in Stored.
	Hashes []uint64
	// Medium is where they were, as in Stored.
	Medium string
	// Rank is the data parallel rank.
	Rank int
}

// DefaultMedium is where an engine keeps blocks of which it does not say where.
const DefaultMedium = "gpu"
