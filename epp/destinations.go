package epp

import (
	"net/http"
	"sync/atomic"
	"time"
)

// listsAgain is how long after a response without the endpoint that served it a gateway
// is not given lists.
const listsAgain = time.Minute

// lists learns whether the gateway takes more than one endpoint for a request. The
// endpoint picker protocol has it try the endpoints of a list in turn and say with the
// response which one served (Gateway API Inference Extension, proposal 004). An Envoy
// whose cluster is ORIGINAL_DST does neither: it answers 503 to a list. So until a
// gateway has said who served, and for a while after one did not, lists have one
// endpoint. It is safe for concurrent use.
type lists struct {
	told   atomic.Bool
	silent atomic.Int64 // when a response last came without, in Unix seconds
}

// taken tells whether a list may be sent.
func (l *lists) taken(now time.Time) bool {
	return l.told.Load() && now.Unix()-l.silent.Load() >= int64(listsAgain/time.Second)
}

// answered learns from a response. A refusal that no endpoint is said to have served may
// be the gateway's own, of a limit of requests for instance, and teaches nothing, but for
// 503, which is what comes of a list that is not taken. It writes at most once a second,
// and then only for gateways that do not say who served: what is written by every request
// is slow to share.
func (l *lists) answered(now time.Time, status int, served string) {
	if served != "" {
		if !l.told.Load() {
			l.told.Store(true)
		}
		return
	}
	if status >= http.StatusBadRequest && status != http.StatusServiceUnavailable {
		return
	}
	if s := now.Unix(); l.silent.Load() != s {
		l.silent.Store(s)
	}
}
