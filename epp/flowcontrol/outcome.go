package flowcontrol

// Outcome is what became of a request at a queue. Its text is the value of the
// outcome label that llm-d's metrics have.
type Outcome string

// Outcomes.
const (
	// Dispatched: it goes on.
	Dispatched Outcome = "Dispatched"
	// RejectedCapacity: no room to wait.
	RejectedCapacity Outcome = "RejectedCapacity"
	// RejectedNoEndpoints: no room to wait for a pool that has no endpoints.
	RejectedNoEndpoints Outcome = "RejectedNoEndpoints"
	// RejectedOther: the queue is closed.
	RejectedOther Outcome = "RejectedOther"
	// EvictedTTL: it waited as long as it may.
	EvictedTTL Outcome = "EvictedTTL"
	// EvictedNoEndpoints: it waited as long as it may for a pool without endpoints.
	EvictedNoEndpoints Outcome = "EvictedNoEndpoints"
	// EvictedContextCancelled: the client went away.
	EvictedContextCancelled Outcome = "EvictedContextCancelled"
	// EvictedOther: the queue was closed, or a request of a higher priority took its
	// place.
	EvictedOther Outcome = "EvictedOther"
)
