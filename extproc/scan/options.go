package scan

// Options bound a Scanner. The zero value means the defaults.
type Options struct {
	// MaxDepth is the deepest nesting of objects and arrays accepted, the body
	// being 1. Default 256.
	MaxDepth int
	// MaxField is the longest model, user and cache_salt accepted, in bytes.
	// Default 4096.
	MaxField int
	// BlockBytes is the length of every prompt block in bytes, at least 16 and at
	// most 65536. By default blocks grow with their position in their prompt
	// field: 256 bytes in the first 4 KiB, so that short prompts match, 1 KiB up
	// to 64 KiB, and 2 KiB behind, so that long ones do not have too many.
	BlockBytes int
	// MaxBlocks is the most blocks reported; a longer prompt is counted but not
	// hashed to its end. Default 4096, which is 8 MiB of text.
	MaxBlocks int
}

func (o Options) withDefaults() Options {
	if o.MaxDepth <= 0 {
		o.MaxDepth = 256
	}
	if o.MaxField <= 0 {
		o.MaxField = 4096
	}
	if o.MaxBlocks <= 0 {
		o.MaxBlocks = 4096
	}
	if o.BlockBytes > 0 {
		o.BlockBytes = min(max(o.BlockBytes, 16), 65536)
	} else {
		o.BlockBytes = 0
	}
	return o
}

const largestBlock = 2048

// blockSize is the length in bytes of the block that starts at pos in its
// prompt field.
func (o *Options) blockSize(pos int64) int {
	switch {
	case o.BlockBytes > 0:
		return o.BlockBytes
	case pos < 4<<10:
		return 256
	case pos < 64<<10:
		return 1024
	}
	return largestBlock
}
