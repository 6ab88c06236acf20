package epp

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/epp/report"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/observe"
)

// TestReportedResponse: what a response uses is told once and when it has changed, to
// every request anew, and nobody is asked without a Reporter.
func TestReportedResponse(t *testing.T) {
	if _, ok := mustPick(t, newPicker(t, Options{Pools: onePool(newFakePool(1))}), prompt("r", "m", 100)).Observer.(extproc.MetadataTeller); ok {
		t.Error("the gateway waits for what nobody reports")
	}
	r, err := report.New([]report.Attribute{
		{Namespace: "envoy.lb", Name: "cost", Expression: "usage.total_tokens"},
		{Namespace: "envoy.lb", Name: "requests", Expression: "1"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := newPicker(t, Options{Pools: onePool(newFakePool(1)), Report: r})
	now := time.Unix(1000, 0)
	for range 2 { // the second in the first one's memory
		o := mustPick(t, p, prompt("r", "m", 100)).Observer
		o.ResponseHeaders(now, 200, "")
		o.FirstToken(now)
		got := ""
		for _, u := range []observe.Usage{{}, {}, {Known: true, PromptTokens: 7}, {Known: true, PromptTokens: 7}, {Known: true, PromptTokens: 7, CompletionTokens: 2}} {
			var s structpb.Struct
			if err := proto.Unmarshal(o.(extproc.MetadataTeller).ResponseMetadata(u), &s); err != nil {
				t.Fatal(err)
			}
			f := s.Fields["envoy.lb"].GetStructValue().GetFields()
			got += fmt.Sprint(f["requests"].GetNumberValue(), f["cost"].GetNumberValue(), "; ")
		}
		if want := "1 0; 0 0; 1 7; 0 0; 1 9; "; got != want {
			t.Errorf("told %s, want %s", got, want)
		}
		o.End(now, extproc.Outcome{Status: 200, Complete: true})
	}
	for range 3 { // each uses what the one before did
		o := mustPick(t, p, prompt("r", "m", 100)).Observer
		if o.(extproc.MetadataTeller).ResponseMetadata(observe.Usage{Known: true, PromptTokens: 5}) == nil {
			t.Error("a request is taken for the one before")
		}
		o.End(now, extproc.Outcome{Status: 200, Complete: true})
	}
}
