package server

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fairway-ai/fairway/sim/engine"
)

// Defaults of [Config].
const (
	DefaultName            = "sim"
	DefaultModel           = "sim"
	DefaultMaxBody         = 16 << 20
	DefaultShutdownTimeout = 10 * time.Second
)

const (
	maxNameBytes = 256
	maxAdapters  = 1024
	maxSpeed     = 1e6
)

// Config describes one simulated server. The zero value works.
type Config struct {
	// Name identifies the server: in the response header x-sim-server and in
	// system_fingerprint.
	Name string
	// Model is the model it serves.
	Model string
	// Engine is its size and speed. MaxWaiting is set by Failures.MaxWaiting, and
	// MaxLoRA is 1 by default.
	Engine engine.Config
	// Speed divides all durations of the engine; 0 means 1.
	Speed float64
	// Adapters are the LoRA adapters present at the start. Each is a model name.
	Adapters []string
	// MaxModelLen bounds prompt and output together, in tokens; 0 means what the KV
	// cache holds.
	MaxModelLen int
	// MaxBody bounds a request body in bytes; 0 means [DefaultMaxBody].
	MaxBody int64
	// Role is what the server does of a request; "" means RoleBoth.
	Role Role
	// Sidecar has the server do what llm-d's sidecar does before a decode server: ask
	// the servers that request headers name to encode and to compute the prompt first.
	Sidecar bool
	// HoldTimeout is how long a prompt that was computed for another server waits to be
	// fetched; 0 means [DefaultHoldTimeout].
	HoldTimeout time.Duration
	// Rank is the data parallel rank, which metrics and KV cache events name.
	Rank int
	// Echo answers with the last user message instead of filler.
	Echo bool
	// APIKey is what requests below /v1/ must carry, as "Authorization: Bearer KEY" or,
	// to Anthropic's API, as "x-api-key: KEY"; "" asks for none.
	APIKey string
	// KVEvents says where the KV cache's events are published, if anywhere.
	KVEvents KVEvents
	// Seed drives the choice of requests that fail with Failures.ErrorRate.
	Seed uint64
	// Failures are how it misbehaves from the start.
	Failures Failures
	// ShutdownTimeout is how long requests may finish after Run's context has
	// ended; 0 means [DefaultShutdownTimeout].
	ShutdownTimeout time.Duration
	// Clock is the time; nil means the real time.
	Clock Clock
}

// Clock tells time and calls back later.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f in its own goroutine after d. stop prevents that if it is
	// not too late.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }
func (realClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// normalise fills in defaults and names the first field that is out of range.
func (c Config) normalise() (Config, error) {
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.Model == "" {
		c.Model = DefaultModel
	}
	if c.Speed == 0 {
		c.Speed = 1
	}
	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.ShutdownTimeout == 0 {
		c.ShutdownTimeout = DefaultShutdownTimeout
	}
	if c.Clock == nil {
		c.Clock = realClock{}
	}
	if c.Role == "" {
		c.Role = RoleBoth
	}
	if err := c.Role.validate(); err != nil {
		return c, err
	}
	if c.HoldTimeout == 0 {
		c.HoldTimeout = DefaultHoldTimeout
	}
	if c.HoldTimeout < 0 {
		return c, fmt.Errorf("KV hold timeout %v: must not be negative", c.HoldTimeout)
	}
	if c.Rank < 0 || c.Rank >= MaxRanks {
		return c, fmt.Errorf("data parallel rank %d: must be 0 to %d", c.Rank, MaxRanks-1)
	}
	for what, name := range map[string]string{"name": c.Name, "model": c.Model} {
		if err := checkName(name); err != nil {
			return c, fmt.Errorf("%s: %w", what, err)
		}
	}
	if len(c.Adapters) > maxAdapters {
		return c, fmt.Errorf("LoRA adapters: %d are more than %d", len(c.Adapters), maxAdapters)
	}
	c.Adapters = slices.Clone(c.Adapters)
	for i, a := range c.Adapters {
		if err := checkName(a); err != nil {
			return c, fmt.Errorf("LoRA adapter %d: %w", i+1, err)
		}
		if a == c.Model || slices.Contains(c.Adapters[:i], a) {
			return c, fmt.Errorf("LoRA adapter %q: the name is taken; adapters and the model need different names", a)
		}
	}
	if !(c.Speed > 0 && c.Speed <= maxSpeed) {
		return c, fmt.Errorf("speed %g: must be greater than 0 and at most %g", c.Speed, float64(maxSpeed))
	}
	if c.MaxBody < 0 {
		return c, fmt.Errorf("maximum body size %d: must be positive", c.MaxBody)
	}
	if c.ShutdownTimeout < 0 {
		return c, fmt.Errorf("shutdown timeout %v: must not be negative", c.ShutdownTimeout)
	}
	if err := c.Failures.validate(); err != nil {
		return c, err
	}
	if err := c.Engine.Validate(); err != nil {
		return c, err
	}
	if err := c.KVEvents.validate(); err != nil {
		return c, err
	}
	c.Engine.MaxWaiting = 0
	if c.Engine.MaxLoRA == 0 {
		c.Engine.MaxLoRA = 1
	}
	c.Engine = c.Engine.WithDefaults()
	room := min(c.Engine.Blocks*c.Engine.BlockTokens, 1<<30)
	if c.MaxModelLen < 0 || c.MaxModelLen > room {
		return c, fmt.Errorf("maximum model length %d: must be 0 to %d, what %d KV blocks of %d tokens hold",
			c.MaxModelLen, room, c.Engine.Blocks, c.Engine.BlockTokens)
	}
	if c.MaxModelLen == 0 {
		c.MaxModelLen = room
	}
	return c, nil
}

func checkName(name string) error {
	switch {
	case name == "" || len(name) > maxNameBytes:
		return fmt.Errorf("%d bytes: must be 1 to %d", len(name), maxNameBytes)
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r > 0x7e && r < 0xa0 || r == 0xfffd }):
		return fmt.Errorf("%q: must be printable text", name)
	}
	return nil
}
