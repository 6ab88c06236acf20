package rewrite

import (
	"testing"

	"google.golang.org/grpc/mem"

	"github.com/fairway-ai/fairway/extproc"
)

// FuzzRestorer: the answer that a client gets does not depend on how Envoy cut it into
// messages, and those into buffers, nor on which of them says that it is the last.
func FuzzRestorer(f *testing.F) {
	f.Add("sent", "asked", false, `{"model":"sent","message":{"model":"sent"}}`, uint64(0x5a5a), uint64(3))
	f.Add("sent", "a\"b", true, "data: {\"model\":\"sent\"}\r\n\r\ndata:{\"response\":{\"model\":\"s\\u0065nt\"}}\n\n", uint64(0xffff), uint64(0x11))
	f.Add("m", "n", true, "data: {\"model\":\"m", uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, sent, asked string, stream bool, text string, buffers, messages uint64) {
		want := whole(sent, asked, stream, text)
		r := NewRestorer(sent, asked)
		kind := "application/json"
		if stream {
			kind = "text/event-stream"
		}
		r.ResponseHeaders(extproc.Head{Headers: []extproc.Header{{Name: "content-type", Value: kind}}}, nil)
		var got []byte
		var part mem.BufferSlice
		send := func(end bool) {
			c := r.ResponseBody(part, end, false, nil)
			if !c.BodyChanged {
				t.Fatal("a part passes as it is, beside others that do not")
			}
			got = append(got, c.Body.Materialize()...)
			part = nil
		}
		at := 0
		for i := 1; i <= len(text); i++ {
			if i < len(text) && buffers>>(i%64)&1 == 0 {
				continue
			}
			part = append(part, mem.SliceBuffer(text[at:i]))
			at = i
			if messages>>(i%64)&1 == 1 {
				send(false)
			}
		}
		send(true)
		if string(got) != want {
			t.Fatalf("%q became %q, in one piece %q", text, got, want)
		}
	})
}
