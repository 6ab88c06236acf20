package egress

import (
	"strings"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/extproc"
)

// An error that shows only after the headers of a success breaks the answer off, and so
// does a backend that does not end after the client was told.
func TestAnswersThatAreNone(t *testing.T) {
	tr := &Translators{}
	if err := tr.Set(Backend{Name: "b", Host: "api.example.com", Provider: aibackend.Backend{Schema: aibackend.Anthropic}}); err != nil {
		t.Fatal(err)
	}
	try := func(headers ...string) extproc.Exchange {
		x, c := decide(t, tr, "b", "/v1/chat/completions", ask, nil)
		if c.Immediate != nil {
			t.Fatalf("refused: %s", c.Immediate)
		}
		x.ResponseHeaders(extproc.Head{Headers: append([]extproc.Header{{Name: ":status", Value: headers[0]}}, extproc.Header{Name: "content-type", Value: headers[1]})}, nil)
		return x
	}
	say := func(x extproc.Exchange, text string, end bool) extproc.Change {
		return x.ResponseBody(mem.BufferSlice{mem.SliceBuffer(text)}, end, false, nil)
	}
	x := try("200", "application/json")
	c := say(x, `{"half":`, true)
	var answer extprocv3.ImmediateResponse
	if err := proto.Unmarshal(c.Immediate, &answer); err != nil || answer.GetStatus().GetCode() != 502 || !strings.Contains(string(answer.Body), `"error"`) {
		t.Errorf("half an answer: %+v, %v", c, err)
	}
	x.Close(true)
	x = try("500", "text/html")
	if c := say(x, "<html>", true); c.Immediate != nil || !strings.Contains(string(c.Body.Materialize()), `"error"`) {
		t.Errorf("an error: %+v", c)
	}
	x.Close(true)
	x = try("200", "text/html") // told at once, as its status was
	if c := say(x, "<html>", false); c.Immediate != nil || c.Body.Len() == 0 {
		t.Errorf("a page: %+v", c)
	}
	for i := range 3 {
		if c := say(x, strings.Repeat("x", maxSurplus/2), false); (c.Immediate != nil) != (i == 2) || c.Body.Len() > 0 {
			t.Errorf("%d halves more: %+v", i+1, c)
		}
	}
	x.Close(false)
	x, _ = decide(t, tr, "b", "/v1/chat/completions", ask, nil)
	r := x.ResponseHeaders(extproc.Head{Headers: headers(":status", "204"), End: true}, nil)
	if !r.Replace || !strings.Contains(string(r.Body.Materialize()), `"error"`) {
		t.Errorf("no content: %+v", r)
	}
	x.Close(true)
}
