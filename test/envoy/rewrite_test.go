package envoy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/epp/rewrite"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// TestModelRewrite: the server gets one name of the model, the client reads another, in
// JSON with and without a length, and in a stream whose pieces cut the name.
func TestModelRewrite(t *testing.T) {
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("x-answer") {
		case "stream":
			w.Header().Set("content-type", "text/event-stream")
			text := strings.Repeat("data: {\"id\":\"sent\",\"model\":\"sent\",\"choices\":[]}\n\n", 20) + "data: [DONE]\n\n"
			for i := 0; i < len(text); i += 17 {
				_, _ = io.WriteString(w, text[i:min(i+17, len(text))])
				w.(http.Flusher).Flush()
			}
		case "length":
			const text = `{"id":"sent","model":"sent"}`
			w.Header().Set("content-type", "application/json")
			w.Header().Set("content-length", fmt.Sprint(len(text)))
			_, _ = io.WriteString(w, text)
		case "chunks":
			w.Header().Set("content-type", "application/json")
			for _, part := range []string{`{"model":"se`, `nt","id`, `":"sent"}`} {
				_, _ = io.WriteString(w, part)
				w.(http.Flusher).Flush()
			}
		default:
			w.Header().Set("content-type", "text/plain")
			_, _ = io.WriteString(w, `{"model":"sent"}`)
		}
	})
	r := newRig(t, []xds.Pool{{Name: "ns/pool", Endpoints: []string{b.addr}}})
	r.picker.set(func(context.Context, *extproc.Request) (extproc.Pick, error) {
		p := pickOf("ns/pool", b.addr)
		p.Model, p.Exchange = "sent", rewrite.NewRestorer("sent", `the "asked" one`)
		return p, nil
	})
	const request = `{"messages":[{"role":"user","content":"model: asked"}], "model" : "asked"}`
	for answer, want := range map[string]string{
		"stream": strings.Repeat(`data: {"id":"sent","model":"the \"asked\" one","choices":[]}`+"\n\n", 20) + "data: [DONE]\n\n",
		"length": `{"id":"sent","model":"the \"asked\" one"}`,
		"chunks": `{"model":"the \"asked\" one","id":"sent"}`,
		"text":   `{"model":"sent"}`,
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", r.url+"/v1/chat/completions", strings.NewReader(request))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("content-type", "application/json")
		req.Header.Set("x-answer", answer)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || string(body) != want {
			t.Errorf("%s: %d %v\n%s\nwant\n%s", answer, resp.StatusCode, err, body, want)
		}
		if _, got, _ := b.last(); string(got) != strings.Replace(request, `"model" : "asked"`, `"model" : "sent"`, 1) {
			t.Errorf("%s: the server got %s", answer, got)
		}
		if n := resp.Header.Get("content-length"); n != "" && n != fmt.Sprint(len(want)) {
			t.Errorf("%s: content-length %s of %d bytes", answer, n, len(want))
		}
	}
}
