package epp

import (
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/observe"
)

var (
	_ extproc.MetadataTeller = reported{}
	_ extproc.TokenTimer     = reported{}
)

// observer is the Observer of the request's response.
func (r *request) observer() extproc.Observer {
	if r.picker.o.Report == nil {
		return r
	}
	return reported{r}
}

// reported is a request whose response's usage is reported. Only then has the gateway to
// wait for what is read of the response.
type reported struct{ *request }

// reporting is what was reported last.
type reporting struct {
	begun bool
	of    observe.Usage
}

// ResponseMetadata implements extproc.MetadataTeller: it tells once, and again whenever
// the usage has changed.
func (r reported) ResponseMetadata(u observe.Usage) []byte {
	if r.reporting.begun && r.reporting.of == u {
		return nil
	}
	r.reporting = reporting{true, u}
	return r.picker.o.Report.Report(u)
}
