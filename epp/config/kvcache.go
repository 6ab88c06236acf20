package config

// KVCache are the parameters of precise-prefix-cache-producer, and of the deprecated
// precise-prefix-cache-scorer: how engines' KV cache events are followed.
type KVCache struct {
	// BlockTokens is the size of the blocks that prompts are compared in, in tokens.
	BlockTokens int
	// Bind is the address to listen on for engines that dial ("tcp://*:5557"); ""
	// means that every endpoint is dialled.
	Bind string
	// TopicFilter is the prefix of the topics that are asked for.
	TopicFilter string
	// SocketPort is where an endpoint of rank 0 publishes, ReplayPort where it replays;
	// 0 means 5557, and that none replays.
	SocketPort, ReplayPort int
	// Workers is how many endpoints' events are decoded at once; 0 leaves it to the
	// subscriber.
	Workers int
	// Speculative makes a prompt that was just sent count as cached for
	// SpeculativeTTL.
	Speculative    bool
	SpeculativeTTL Duration
	// TierWeights are what a block counts by where it is kept, 0 to 1; nil means the
	// index's own.
	TierWeights map[string]float32
}

// Tokens are the parameters of token-producer: where the token ids of prompts come
// from.
type Tokens struct {
	// Render asks engines for them: at URL, or when that is empty at the pool's own
	// endpoints. Otherwise their number is estimated.
	Render bool
	URL    string
	// Timeout bounds a question, ImagesTimeout one about a prompt with images; 0
	// leaves it to the token source.
	Timeout, ImagesTimeout Duration
	// Model replaces the request's model in questions when it is not empty.
	Model string
}
