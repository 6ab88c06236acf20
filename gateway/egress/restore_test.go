package egress

import (
	"testing"

	"google.golang.org/grpc/mem"

	"github.com/fairway-ai/fairway/extproc"
)

// A pool gets the name by which it serves the model, or the client's, whatever the try
// before it was sent.
func TestRestoredModel(t *testing.T) {
	const sent = `{ "model":"of another" ,"x":[1, 2]}`
	for _, tt := range []struct {
		o          Original
		path, body string
		want       string // "" for an error
	}{
		{Original{}, "/v1/chat/completions", sent, sent},
		{Original{Model: "mine"}, "/v1/chat/completions?a=b", sent, `{ "model":"mine" ,"x":[1, 2]}`},
		{Original{Model: "mine", Pools: []PoolModel{{"ns/q", "q"}, {"ns/p", "p\"s"}}}, "/v1/messages", sent, `{ "model":"p\"s" ,"x":[1, 2]}`},
		{Original{Pools: []PoolModel{{"ns/q", "q"}}}, "/v1/messages", sent, sent},
		{Original{Model: "mine", Pools: []PoolModel{{"ns/p", ""}, {"ns/p", "other"}}}, "/v1/messages", sent, sent},
		{Original{Model: "mine"}, "/other", "no JSON", "no JSON"},
		{Original{Model: "mine"}, "/v1/completions", `{"x":1}`, `{"x":1}`},
		{Original{Model: "mine"}, "/v1/completions", "no JSON", ""},
		{Original{Model: "mine"}, "/v1/completions", `{"x":`, ""},
	} {
		tt.o.Path, tt.o.Headers = tt.path, headers(":path", tt.path)
		x := (&Translators{}).Consult(t.Context(), RestorePrefix+"ns/p")
		if err := x.RequestHeaders(extproc.Head{Metadata: encodedMetadata(t, &tt.o)}); err != nil {
			t.Fatal(err)
		}
		x.RequestBody(mem.BufferSlice{mem.SliceBuffer(tt.body[:4]), mem.SliceBuffer(tt.body[4:])}, true)
		c, err := x.Decide(nil)
		if got := string(c.Body.Materialize()); got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%+v: %s, %v, want %s", tt.o, got, err, tt.want)
		}
		x.Close(true)
	}
}
