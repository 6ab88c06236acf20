package rewrite

import (
	"testing"

	"google.golang.org/grpc/mem"

	"github.com/fairway-ai/fairway/extproc"
)

func TestRestorer(t *testing.T) {
	body := func(parts ...string) (s mem.BufferSlice) {
		for _, p := range parts {
			s = append(s, mem.SliceBuffer(p))
		}
		return s
	}
	start := func(headers ...extproc.Header) *Restorer {
		r := NewRestorer("sent", "asked")
		if h, b := r.WantsResponse(); !h || !b {
			t.Error("the response is not wanted")
		}
		r.ResponseHeaders(extproc.Head{Headers: headers}, nil)
		return r
	}
	for name, headers := range map[string][]extproc.Header{
		"text":    {{Name: "content-type", Value: "text/html"}},
		"none":    nil,
		"encoded": {{Name: "content-type", Value: "application/json"}, {Name: "content-encoding", Value: "gzip"}},
	} {
		r := start(headers...)
		if _, wanted := r.WantsResponse(); wanted {
			t.Errorf("%s: the body is wanted", name)
		}
		if c := r.ResponseBody(body(`{"model":"sent"}`), true, true, nil); c.BodyChanged {
			t.Errorf("%s: the body is changed", name)
		}
	}
	r := start(extproc.Header{Name: "content-type", Value: "Application/JSON; charset=utf-8"}, extproc.Header{Name: "content-encoding", Value: "identity"})
	got := ""
	for _, part := range []mem.BufferSlice{body(`{"mod`, `el":"s`), body("en"), body("t"), body(`","a":1`)} {
		c := r.ResponseBody(part, false, false, nil)
		if !c.BodyChanged {
			t.Error("want what is kept to be kept")
		}
		got += string(c.Body.Materialize())
	}
	c := r.ResponseBody(body(`}`), true, true, nil)
	if got += string(c.Body.Materialize()); got != `{"model":"asked","a":1}` {
		t.Errorf("got %s", got)
	}
	r = start(extproc.Header{Name: "content-type", Value: "text/event-stream"})
	c = r.ResponseBody(body("data: {\"model\":\"se"), true, true, nil)
	if got := string(c.Body.Materialize()); got != "data: {\"model\":\"se" {
		t.Errorf("of an answer that is cut, %q is left", got)
	}
	r.Close(true)
	if _, wanted := r.WantsResponse(); wanted {
		t.Error("wanted after the end")
	}
	if c, err := r.Decide(nil); err != nil || c.BodyChanged || r.RequestHeaders(extproc.Head{}) != nil {
		t.Error("the request is changed")
	}
	r.RequestBody(body("x"), true)
}
