package prefix

// Block is one link of a prompt's chain.
type Block struct {
	// Hash identifies the block and everything before it in the prompt.
	Hash uint64
	// Tokens is the estimated number of tokens in this block alone.
	Tokens int32
}
