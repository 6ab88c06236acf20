package engine

import (
	"fmt"
	"time"
)

// Defaults of [Config]: an 8B model on one large GPU, as vLLM starts it.
const (
	DefaultPrefillRate         = 20480
	DefaultChunkTokens         = 8192
	DefaultStepBase            = 12 * time.Millisecond
	DefaultStepPerSeq          = 50 * time.Microsecond
	DefaultStepPerContextToken = 40 * time.Nanosecond
	DefaultMaxSeqs             = 256
	DefaultBlockTokens         = 16
	DefaultBlocks              = 16384
	DefaultTransferPerToken    = 5 * time.Microsecond
	DefaultEncodePerItem       = 30 * time.Millisecond
)

// Config is the model server's size and speed. A zero field has its default,
// except the limits that say otherwise.
type Config struct {
	// PrefillRate is the prompt tokens computed per second.
	PrefillRate float64
	// ChunkTokens bounds the tokens of one step, as vLLM's
	// --max-num-batched-tokens. It is never less than MaxSeqs, so that every
	// running sequence advances in every step.
	ChunkTokens int
	// StepBase is the fixed duration of a step.
	StepBase time.Duration
	// StepPerSeq is added for every decoding sequence.
	StepPerSeq time.Duration
	// StepPerContextToken is added for every context token of those sequences.
	StepPerContextToken time.Duration
	// MaxSeqs bounds the running sequences, as vLLM's --max-num-seqs.
	MaxSeqs int
	// BlockTokens is the size of a KV block in tokens.
	BlockTokens int
	// Blocks is the number of KV blocks.
	Blocks int
	// MaxWaiting bounds the queue; 0 means no bound.
	MaxWaiting int
	// MaxLoRA bounds the LoRA adapters in a step and in memory, as vLLM's
	// --max-loras; 0 means no bound.
	MaxLoRA int
	// LoRALoad is added to a step for every adapter it must load; 0 is free.
	LoRALoad time.Duration
	// TransferPerToken is how long a prompt token's KV takes to arrive from another
	// server, or from the CPU's memory.
	TransferPerToken time.Duration
	// EncodePerItem is added to a step for every image, sound or film that it
	// encodes.
	EncodePerItem time.Duration
	// CPUBlocks is the size of a second, slower KV cache in the CPU's memory, to which
	// every cached block is copied; 0 means none.
	CPUBlocks int
}

// WithDefaults returns the config with zero fields filled in.
func (c Config) WithDefaults() Config {
	set(&c.PrefillRate, DefaultPrefillRate)
	set(&c.ChunkTokens, DefaultChunkTokens)
	set(&c.StepBase, DefaultStepBase)
	set(&c.StepPerSeq, DefaultStepPerSeq)
	set(&c.StepPerContextToken, DefaultStepPerContextToken)
	set(&c.MaxSeqs, DefaultMaxSeqs)
	set(&c.BlockTokens, DefaultBlockTokens)
	set(&c.Blocks, DefaultBlocks)
	set(&c.TransferPerToken, DefaultTransferPerToken)
	set(&c.EncodePerItem, DefaultEncodePerItem)
	c.ChunkTokens = max(c.ChunkTokens, c.MaxSeqs)
	return c
}

func set[T int | float64 | time.Duration](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// Validate names the first field that is out of range.
func (c Config) Validate() error {
	if !(c.PrefillRate >= 0 && c.PrefillRate <= 1e12) {
		return fmt.Errorf("prefill rate %g: must be 0 to 1e12 tokens per second", c.PrefillRate)
	}
	for _, f := range []struct {
		name  string
		value int
	}{
		{"tokens per step", c.ChunkTokens}, {"running sequences", c.MaxSeqs}, {"block size", c.BlockTokens},
		{"KV blocks", c.Blocks}, {"waiting requests", c.MaxWaiting}, {"LoRA adapters", c.MaxLoRA},
		{"KV blocks of the CPU", c.CPUBlocks},
	} {
		if f.value < 0 || f.value > maxCount {
			return fmt.Errorf("%s %d: must be 0 to %d", f.name, f.value, maxCount)
		}
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"step duration", c.StepBase}, {"step duration per sequence", c.StepPerSeq},
		{"step duration per context token", c.StepPerContextToken}, {"LoRA load time", c.LoRALoad},
		{"KV transfer time per token", c.TransferPerToken}, {"encoding time", c.EncodePerItem},
	} {
		if f.value < 0 {
			return fmt.Errorf("%s %v: must not be negative", f.name, f.value)
		}
	}
	return nil
}

// maxCount keeps token counts far from overflow.
const maxCount = 1 << 30
