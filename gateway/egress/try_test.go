package egress

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// record is an Observer that keeps what it is told.
type record struct{ answered, refused []Outcome }

func (r *record) Answered(o Outcome) { r.answered = append(r.answered, o) }
func (r *record) Refused(o Outcome)  { r.refused = append(r.refused, o) }

// metadataOf is what an answer's metadata says in a namespace.
func metadataOf(t *testing.T, c extproc.Change, namespace string) map[string]any {
	t.Helper()
	var s structpb.Struct
	if err := proto.Unmarshal(c.Metadata, &s); err != nil {
		t.Fatal(err)
	}
	m, _ := s.AsMap()[namespace].(map[string]any)
	return m
}

func body(s string) mem.BufferSlice { return mem.BufferSlice{mem.SliceBuffer(s)} }

func TestOutcome(t *testing.T) {
	at, seen := newClock(), &record{}
	tr := &Translators{
		Observer: Observers{nil, seen}, Now: at.now,
		Costs: func(o *Outcome) map[string]uint64 { return map[string]uint64{"all": uint64(o.Usage.Total())} },
	}
	if err := tr.Set(Backend{Name: "ns/b#gpt", Label: "ns/b", Host: "h", Provider: aibackend.Backend{Schema: aibackend.OpenAI, Model: "gpt"}}); err != nil {
		t.Fatal(err)
	}
	x, _ := decide(t, tr, "ns/b#gpt", "/x", ask, &Original{Path: "/v1/messages?beta", Rule: "ns/r/0", Asked: "m"})
	at.pass(time.Second)
	if c := x.ResponseHeaders(extproc.Head{Headers: headers(":status", "200", "content-type", "application/json")}, nil); c.Metadata != nil {
		t.Error("a head, which may yet lead to the next try, tells who answers")
	}
	at.pass(time.Second)
	const answer = `{"id":"1","object":"chat.completion","model":"gpt-1","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],`
	first := metadataOf(t, x.ResponseBody(body(answer), false, false, nil), AnswerNamespace)
	if first["backend"] != "ns/b" || first["rule"] != "ns/r/0" || first["schema"] != "OpenAI" || first["model"] != "gpt" || first["operation"] != "chat" {
		t.Errorf("%v", first)
	}
	at.pass(time.Second)
	c := x.ResponseBody(body(`"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}`), true, false, nil)
	last, costs := metadataOf(t, c, AnswerNamespace), metadataOf(t, c, CostNamespace)
	if last["backend"] != nil || last["input_tokens"] != 7.0 || last["output_tokens"] != 3.0 || costs["all"] != 10.0 {
		t.Errorf("%v, %v", last, costs)
	}
	x.Close(true)
	if len(seen.answered) != 1 || len(seen.refused) != 0 {
		t.Fatalf("%+v", seen)
	}
	o := seen.answered[0]
	if o.Duration() != 3*time.Second || o.TimeToFirstByte() != 2*time.Second || o.Failed() || !o.Complete || o.Model != "m" || o.SentModel != "gpt" || o.AnsweredModel != "gpt-1" || o.Usage.Total() != 10 || o.Host != "h" {
		t.Errorf("%+v", o)
	}
	// Refusals are told as well.
	decide(t, tr, "ns/b#gpt", "/v1/messages", `{`, nil)
	if len(seen.refused) != 1 || seen.refused[0].Status != 400 || seen.refused[0].Backend != "ns/b" || seen.refused[0].Duration() != 0 {
		t.Errorf("%+v", seen.refused)
	}
}

func TestOperationOf(t *testing.T) {
	for path, want := range map[string]Operation{
		"/v1/chat/completions?x": OperationChat, "/v1/completions": OperationCompletion, "/v1/messages/count_tokens": OperationCountTokens,
		"/openai/deployments/x/embeddings": OperationEmbeddings, "/": OperationOther,
	} {
		if got := operationOf(path); got != want {
			t.Errorf("%s is %s", path, got)
		}
	}
}

// A pool that is spoken to as a backend keeps the client's host and what proxies said.
func TestTryAtPool(t *testing.T) {
	tr := &Translators{}
	if err := tr.Set(Backend{Name: "b", Pool: "ns/p", Provider: aibackend.Backend{Schema: aibackend.OpenAI}}); err != nil {
		t.Fatal(err)
	}
	x := tr.Consult(t.Context(), Prefix+"b")
	h := headers(":method", "POST", ":path", "/v1/messages", ":authority", "ai.example.com", "x-forwarded-for", "1.2.3.4")
	if err := x.RequestHeaders(extproc.Head{Headers: h}); err != nil {
		t.Fatal(err)
	}
	x.RequestBody(body(ask), true)
	c, err := x.Decide(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(applied(t, h, c)); !strings.Contains(got, "{:authority ai.example.com}") || !strings.Contains(got, "{x-forwarded-for 1.2.3.4}") || !strings.Contains(got, "/v1/chat/completions") {
		t.Error(got)
	}
}

// digest is a Signer that keeps the body it signed.
type digest struct{ body string }

func (d *digest) Sign(_ context.Context, r *credentials.Request) error {
	d.body = string(r.Body)
	return nil
}

func TestTryEditsBody(t *testing.T) {
	tr, signed := &Translators{}, &digest{}
	b := Backend{
		Name: "b", Host: "h", Provider: aibackend.Backend{Schema: aibackend.OpenAI}, Signer: signed,
		SetBody: []aibackend.Field{{Name: "store", Value: []byte("false")}}, RemoveBody: []string{"max_completion_tokens", "user"},
	}
	if err := tr.Set(b); err != nil {
		t.Fatal(err)
	}
	_, c := decide(t, tr, "b", "/v1/messages", ask, nil) // of Anthropic's max_tokens
	sent := string(c.Body.Materialize())
	if !strings.Contains(sent, `"store":false`) || strings.Contains(sent, "max_completion_tokens") || signed.body != sent {
		t.Errorf("sent %s, signed %s", sent, signed.body)
	}
	// A field that is there twice might be taken for the one or the other.
	if _, c := decide(t, tr, "b", "/v1/chat/completions", `{"model":"m","user":"a","messages":[{"role":"user","content":"x"}],"user":"b"}`, nil); c.ImmediateStatus != 400 {
		t.Errorf("status %d: %s", c.ImmediateStatus, c.Body.Materialize())
	}
	b.SetBody[0].Value = []byte(`{`)
	if tr.Set(b) == nil {
		t.Error("a value was taken that is not JSON")
	}
	// Of a body without fields, none is changed.
	x := &try{backend: &b}
	b.SetBody[0].Value = []byte(`1`)
	if got, err := x.edit([]byte("--form")); err != nil || string(got) != "--form" || fmt.Sprint(x.dropped) != "[store max_completion_tokens user]" {
		t.Errorf("%s, %v, %q", got, err, x.dropped)
	}
}

func TestTryTells(t *testing.T) {
	at := newClock()
	cooling := NewCooling(at.now)
	tr := &Translators{Cooling: cooling, Tries: NewTries(cooling.Failed, at.now)}
	for _, name := range []string{"a", "b"} {
		if err := tr.Set(Backend{Name: name, Host: "h", Provider: aibackend.Backend{Schema: aibackend.OpenAI}}); err != nil {
			t.Fatal(err)
		}
	}
	id := "id"
	answer := func(name, status string, more ...string) {
		x, _ := decide(t, tr, name, "/v1/chat/completions", ask, &Original{Path: "/v1/chat/completions", ID: id})
		if status != "" {
			x.ResponseHeaders(extproc.Head{Headers: append(headers(":status", status), headers(more...)...)}, nil)
		}
		x.Close(false)
	}
	answer("a", "429", "retry-after", "60")
	answer("b", "")
	answer("b", "400")
	if got := fmt.Sprint(tr.Tries.Take("id")); got != "[a: 429 b: reset]" || !cooling.Cools("a") || cooling.Cools("b") {
		t.Error(got)
	}
	id = "left"
	for range failuresInRow { // of clients that left
		answer("b", "")
	}
	if cooling.Cools("b") {
		t.Error("clients that leave make a backend cool")
	}
	for n := range failuresInRow {
		id = fmt.Sprint(n)
		answer("b", "")
		tr.Tries.Take(id)
	}
	if !cooling.Cools("b") {
		t.Error("tries without an answer do not make a backend cool")
	}
	// A connection that is refused before the body was seen.
	x := tr.Consult(t.Context(), Prefix+"a")
	if err := x.RequestHeaders(extproc.Head{Headers: headers(":path", "/v1/chat/completions", "x-request-id", "early")}); err != nil {
		t.Fatal(err)
	}
	x.Close(false)
	if got := fmt.Sprint(tr.Tries.Take("early")); got != "[a: reset]" {
		t.Error(got)
	}
	// What was refused here says nothing of the backend.
	x, _ = decide(t, tr, "a", "/v1/chat/completions", `{`, &Original{Path: "/v1/chat/completions", ID: "refused"})
	x.Close(false)
	if got := tr.Tries.Take("refused"); got != nil {
		t.Error(got)
	}
}

// gone is a Signer whose client leaves meanwhile.
type gone struct{ leave context.CancelFunc }

func (g gone) Sign(ctx context.Context, _ *credentials.Request) error {
	g.leave()
	return errors.New("gave up waiting")
}

func TestTryAbandoned(t *testing.T) {
	seen := &record{}
	tr := &Translators{Observer: seen}
	ctx, leave := context.WithCancel(t.Context())
	if err := tr.Set(Backend{Name: "b", Host: "h", Provider: aibackend.Backend{Schema: aibackend.OpenAI}, Signer: gone{leave}}); err != nil {
		t.Fatal(err)
	}
	x := tr.Consult(ctx, Prefix+"b")
	if err := x.RequestHeaders(extproc.Head{Headers: headers(":path", "/v1/chat/completions")}); err != nil {
		t.Fatal(err)
	}
	x.RequestBody(body(ask), true)
	if _, err := x.Decide(nil); !errors.Is(err, context.Canceled) || len(seen.refused) > 0 {
		t.Errorf("%v, %+v", err, seen.refused)
	}
	x.Close(false)
}

// A connection that is refused at once ends a try before its headers were read.
func TestMissed(t *testing.T) {
	var lost []string
	tr := &Translators{Tries: NewTries(func(label string) { lost = append(lost, label) }, nil)}
	if err := tr.Set(Backend{Name: "ns/b#m", Label: "ns/b", Host: "h"}); err != nil {
		t.Fatal(err)
	}
	var _ extproc.Misser = tr
	called := func(id string) context.Context {
		return metadata.NewIncomingContext(t.Context(), metadata.Pairs(xds.TryMetadata, id))
	}
	tr.Missed(called("id"), Prefix+"ns/b#m")
	tr.Missed(called("id"), Prefix+"ns/gone")
	tr.Missed(called("id"), "ns/b#m")
	tr.Missed(called("-"), Prefix+"ns/b#m") // Envoy's word for nothing
	tr.Missed(t.Context(), Prefix+"ns/b#m")
	if got := fmt.Sprint(tr.Tries.Take("id"), tr.Tries.Take("-"), tr.Tries.Take(""), lost); got != "[ns/b: reset] [] [] [ns/b]" {
		t.Error(got)
	}
}
