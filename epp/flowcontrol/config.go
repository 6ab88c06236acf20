package flowcontrol

import (
	"fmt"
	"strings"
	"time"
)

// Types of fairness policies.
const (
	// GlobalStrict serves all flows of a band in one order, as if they were one.
	GlobalStrict = "global-strict-fairness-policy"
	// RoundRobin gives every waiting flow of a band its turn.
	RoundRobin = "round-robin-fairness-policy"
	// ProgramAware prefers the flow that has been served least.
	ProgramAware = "program-aware-fairness"
)

// Types of ordering policies.
const (
	// FCFS is the order of arrival in the queue.
	FCFS = "fcfs-ordering-policy"
	// EDF puts first what is due first: the first token, when the client says by
	// when it wants it, or else the end of the time that it may wait.
	EDF = "edf-ordering-policy"
	// SLODeadline puts first what the client wants first; a request that says
	// nothing comes after all that do.
	SLODeadline = "slo-deadline-ordering-policy"
	// Cheapest is the order of [scheduler.HoldQueue], for an endpoint's own queue.
	Cheapest = "cheapest-first"
)

// Defaults, as llm-d publishes them.
const (
	DefaultTTL         = time.Minute
	DefaultMaxRequests = 5000
	DefaultMaxBytes    = 1_000_000_000
)

// Config is how requests wait for a pool. It is not changed after it was made.
type Config struct {
	// MaxRequests and MaxBytes bound what waits in all bands together; 0 is no bound.
	MaxRequests, MaxBytes int64
	// TTL bounds the wait for a pool that has endpoints, NoEndpointTTL for one that
	// has none; 0 is no bound. A change from one to the other begins anew, but no
	// request waits longer than the longer of both.
	TTL, NoEndpointTTL time.Duration
	// Bands are the configured bands, each priority once.
	Bands []Band
	// Default is the band of priorities that Bands does not list, DefaultNegative of
	// those below 0; nil is Default. Their Priority means nothing.
	Default         Band
	DefaultNegative *Band
	// Limit says up to which saturation of the pool each band may be served.
	Limit UsageLimit
	// Detector says how saturated the pool is.
	Detector Detector
	// Evict lets a request take the place of others of a priority below 0 and below its
	// own: of waiting ones when the queue is full, and of running ones while the pool is
	// saturated.
	Evict bool
}

// Band is the queue of one priority.
type Band struct {
	Priority int
	// MaxRequests and MaxBytes bound what waits; 0 is no bound.
	MaxRequests, MaxBytes int64
	Fairness              Fairness
	// Ordering is the type of an ordering policy.
	Ordering string
}

// Fairness chooses between the flows of a band.
type Fairness struct {
	// Type is one of GlobalStrict, RoundRobin and ProgramAware.
	Type string
	// Programs are ProgramAware's parameters.
	Programs Programs
}

// DefaultConfig is the published one: one order of arrival in each band, and a
// pool that is open while its utilization is below 1.
func DefaultConfig() *Config {
	return &Config{
		TTL: DefaultTTL, NoEndpointTTL: DefaultTTL,
		Default:  DefaultBand(),
		Limit:    UsageLimit{Type: StaticLimit, Threshold: 1},
		Detector: DefaultUtilization(),
	}
}

// DefaultBand is the band of which a configuration says nothing.
func DefaultBand() Band {
	return Band{
		MaxRequests: DefaultMaxRequests, MaxBytes: DefaultMaxBytes,
		Fairness: Fairness{Type: GlobalStrict}, Ordering: FCFS,
	}
}

// band is the configuration of a priority.
func (c *Config) band(priority int) Band {
	for i := range c.Bands {
		if c.Bands[i].Priority == priority {
			return c.Bands[i]
		}
	}
	b := c.Default
	if priority < 0 && c.DefaultNegative != nil {
		b = *c.DefaultNegative
	}
	b.Priority = priority
	return b
}

// String is the configuration in effect, as YAML in the fields of an
// EndpointPickerConfig's flowControl section, with each policy in full where that
// has a reference.
func (c *Config) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "maxRequests: %s\nmaxBytes: %s\n", bound(c.MaxRequests), bound(c.MaxBytes))
	fmt.Fprintf(&b, "defaultRequestTTL: %s\nnoEndpointRequestTTL: %s\n", c.TTL, c.NoEndpointTTL)
	fmt.Fprintf(&b, "saturationDetector: %s\n", c.Detector)
	fmt.Fprintf(&b, "usageLimitPolicy: %s\nenableEviction: %t\n", c.Limit, c.Evict)
	fmt.Fprintf(&b, "defaultPriorityBand: {%s}\n", c.Default)
	if c.DefaultNegative != nil {
		fmt.Fprintf(&b, "defaultNegativePriorityBand: {%s}\n", *c.DefaultNegative)
	}
	if len(c.Bands) > 0 {
		b.WriteString("priorityBands:\n")
		for _, band := range c.Bands {
			fmt.Fprintf(&b, "- {priority: %d, %s}\n", band.Priority, band)
		}
	}
	return b.String()
}

func bound(n int64) string {
	if n == 0 {
		return "0 # no bound"
	}
	return fmt.Sprint(n)
}

// String is the band without its priority, as the inside of a YAML flow mapping.
func (b Band) String() string {
	return fmt.Sprintf("maxRequests: %d, maxBytes: %d, fairnessPolicy: %s, orderingPolicy: %s", b.MaxRequests, b.MaxBytes, b.Fairness, b.Ordering)
}

// String is the policy as a YAML scalar or flow mapping.
func (f Fairness) String() string {
	if f.Type != ProgramAware {
		return f.Type
	}
	p := f.Programs
	return fmt.Sprintf("{type: %s, strategy: las, lasWeightService: %g, lasWeightHeadWait: %g, lasHalfLifeSeconds: %g, lasDecayFactor: %g, evictionTtlSeconds: %g}",
		f.Type, p.WeightService, p.WeightHeadWait, p.HalfLife.Seconds(), p.DecayFactor, p.TTL.Seconds())
}

// endless is what a wait without a bound counts as.
const endless = time.Hour

// Longest is how long a request may wait at most; an hour when there is no bound.
func (c *Config) Longest() time.Duration {
	if c.TTL == 0 || c.NoEndpointTTL == 0 {
		return endless
	}
	return max(c.TTL, c.NoEndpointTTL)
}

// CountsTokens reports whether a band wants to know, through [Queue.Served], what
// its flows are served with.
func (c *Config) CountsTokens() bool {
	counts := c.Default.Fairness.Type == ProgramAware || c.DefaultNegative != nil && c.DefaultNegative.Fairness.Type == ProgramAware
	for _, b := range c.Bands {
		counts = counts || b.Fairness.Type == ProgramAware
	}
	return counts
}
