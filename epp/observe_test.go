package epp

import (
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
)

// TestStreamedResponse: the time between tokens and the time a response takes here are
// counted, and responses say that they passed when they are to.
func TestStreamedResponse(t *testing.T) {
	for _, mark := range []bool{false, true} {
		m := metrics.New(metrics.Options{})
		p := newPicker(t, Options{Pools: onePool(newFakePool(1)), Metrics: m, MarkResponses: mark})
		o := mustPick(t, p, prompt("r", "m", 100)).Observer
		now := time.Unix(1000, 0)
		set := o.ResponseHeaders(now, 200, "")
		if marked := len(set) == 1 && set[0] == (extproc.Header{Name: HeaderPassed, Value: "true"}); marked != mark || len(set) > 1 {
			t.Errorf("mark %v: response headers %v", mark, set)
		}
		o.FirstToken(now)
		for range 3 {
			o.(extproc.TokenTimer).Tokens(now)
			now = now.Add(250 * time.Millisecond)
		}
		o.End(now, extproc.Outcome{Status: 200, Complete: true, Streamed: true, Processing: 2 * time.Millisecond})
		page := scrape(m)
		for _, want := range []string{
			`llm_d_epp_request_streaming_itl_seconds_sum{fairness_id="default-flow",model_name="m",priority="0",target_model_name="m"} 0.5`,
			`llm_d_epp_request_streaming_itl_seconds_count{fairness_id="default-flow",model_name="m",priority="0",target_model_name="m"} 2`,
			"llm_d_epp_response_processing_duration_seconds_sum 0.002",
		} {
			if !strings.Contains(page, want+"\n") {
				t.Errorf("no line %s", want)
			}
		}
	}
}
