package observe

import "github.com/fairway-ai/fairway/extproc/internal/jsonlex"

// Usage is a model server's own count of tokens.
type Usage struct {
	// Known is false when the response carried no usage.
	Known bool
	// PromptTokens includes CachedTokens and CacheCreationTokens, which were read from
	// and written to a cache; CompletionTokens includes ReasoningTokens.
	PromptTokens, CompletionTokens, CachedTokens, CacheCreationTokens, ReasoningTokens int64
}

// counts are the numbers of a usage by their place, each one more than it is, so
// that zero means that there is none.
type counts [nodeReasoning - nodePrompt + 1]int64

// maxCount bounds what is believed, so that sums cannot overflow.
const maxCount = 1 << 40

func (c *counts) set(n node, text []byte) {
	if v, ok := jsonlex.Int(text); ok && v >= 0 {
		c[n-nodePrompt] = min(v, maxCount) + 1
	}
}

// put sets a count to v.
func (c *counts) put(n node, v uint64) { c[n-nodePrompt] = int64(min(v, maxCount)) + 1 }

// raise takes over the counts of a later report that are higher.
func (c *counts) raise(later *counts) {
	for i, v := range later {
		c[i] = max(c[i], v)
	}
}

func (c *counts) merge(later *counts) {
	for i, v := range later {
		if v > 0 {
			c[i] = v
		}
	}
}

// has reports whether n was reported at all; a count is kept one too high.
func (c *counts) has(n node) bool { return c[n-nodePrompt] != 0 }

func (c *counts) get(n node) int64 { return max(c[n-nodePrompt]-1, 0) }

// usage adds up what was reported. OpenAI's prompt tokens include the cached
// ones; Anthropic counts those read from and written to the cache apart.
func (c *counts) usage() Usage {
	if !c.has(nodePrompt) && !c.has(nodeCompletion) {
		return Usage{}
	}
	read, written := c.get(nodeCacheRead), c.get(nodeCacheCreation)
	u := Usage{
		Known:            true,
		PromptTokens:     c.get(nodePrompt) + read + written,
		CompletionTokens: c.get(nodeCompletion),
		CachedTokens:     max(c.get(nodeCached), read),

		CacheCreationTokens: written,
	}
	u.CachedTokens = min(u.CachedTokens, u.PromptTokens)
	u.ReasoningTokens = min(c.get(nodeReasoning), u.CompletionTokens)
	return u
}
