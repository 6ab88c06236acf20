package epp

import (
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/fairway-ai/fairway/epp/rewrite"
	"github.com/fairway-ai/fairway/extproc"
)

const maxModelName = 1024

// rewrite finds the model that the request is sent for in its pool: the one that
// Options.Rewrite says, else the one that the headers name, else the client's own. From
// here on the request is one for that model.
func (r *request) rewrite(req *extproc.Request) {
	asked := req.Body.Model
	if asked == "" || req.Body.Form || req.Body.GRPC {
		return // there is no name in the body, or not as JSON
	}
	p := r.picker
	target, by := "", ""
	if p.o.Rewrite != nil {
		target, by, _ = p.o.Rewrite(r.route.name, asked)
	}
	if by != "" {
		p.o.Metrics.Rewritten(by, asked, target)
	} else if target = either(req, extproc.ModelRewriteHeader, extproc.ModelRewriteHeaderLegacy); len(target) > maxModelName {
		return
	}
	if target == "" || target == asked {
		return
	}
	r.asked, r.sched.Model = strings.Clone(asked), strings.Clone(target)
	// What a model has cached is of no use to another one.
	seed := xxhash.Sum64String(target)
	for i := range r.blocks {
		r.blocks[i].Hash = (r.blocks[i].Hash ^ seed) * oddMultiplier
	}
}

// oddMultiplier keeps different hashes different.
const oddMultiplier = 0x9e3779b97f4a7c15

// renamed has the server get the model's other name, and the client its own.
func (r *request) renamed(pick *extproc.Pick) {
	if r.asked == "" {
		return
	}
	pick.Model = r.sched.Model
	pick.Exchange = rewrite.NewRestorer(r.sched.Model, r.asked)
	// An answer that is encoded could not be read.
	pick.RemoveHeaders = append(pick.RemoveHeaders[:len(pick.RemoveHeaders):len(pick.RemoveHeaders)], "accept-encoding")
}
