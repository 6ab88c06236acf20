package epp

import (
	"github.com/fairway-ai/fairway/epp/flowcontrol"
	"github.com/fairway-ai/fairway/extproc"
)

// refusal is why a request is not served, and what its client is told.
type refusal struct {
	outcome flowcontrol.Outcome
	status  int
	code    string
	reason  string // the value of HeaderDropped
	message string
}

var (
	queueFull = refusal{
		flowcontrol.RejectedCapacity, 429, "rejected_saturated", "rejected-saturated",
		"the model's servers are busy and no more requests may wait; try again later",
	}
	queueFullEmpty = refusal{
		flowcontrol.RejectedNoEndpoints, 503, "no_endpoints", "rejected-no-endpoints",
		"no endpoint is ready and no more requests may wait for one",
	}
	waitedTooLong = refusal{
		flowcontrol.EvictedTTL, 429, "rejected_ttl_expired", "rejected-ttl-expired",
		"the model's servers are busy and the request has waited as long as it may; try again later",
	}
	waitedEmpty = refusal{
		flowcontrol.EvictedNoEndpoints, 503, "no_endpoints", "rejected-no-endpoints",
		"no endpoint became ready in the time that the request may wait",
	}
	displaced = refusal{
		flowcontrol.EvictedOther, 429, "evicted", "evicted-queue-pressure",
		"the request made room for one of a higher priority; try again later",
	}
	evicted = refusal{
		flowcontrol.EvictedOther, 429, "evicted", "evicted",
		"the request was ended for one of a higher priority; try again later",
	}
	notServed = refusal{
		flowcontrol.RejectedOther, 503, "shutting_down", "rejected-shutting-down",
		"the pool is no longer served here; try again",
	}
	shuttingDown = refusal{
		flowcontrol.EvictedOther, 503, "shutting_down", "rejected-shutting-down",
		"the pool is no longer served here; try again",
	}
	shed = refusal{
		flowcontrol.RejectedCapacity, 429, "rejected_saturated", "rejected-saturated",
		"the model's servers are busy and requests of this priority are not served meanwhile; try again later",
	}
)

// rejection is the refusal as the client is told of it.
func (r *refusal) rejection() *extproc.Rejection {
	return &extproc.Rejection{
		Status: r.status, Code: r.code, Message: r.message,
		Headers: []extproc.Header{{Name: HeaderDropped, Value: r.reason}},
	}
}
