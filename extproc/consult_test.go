package extproc

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/extproc/scan"
)

// conversation is an exchange that a Picker hands over.
type conversation struct {
	Exchange // nothing of the request reaches it any more
	wantBody bool
	mu       sync.Mutex
	told     []string
	done     chan struct{}
}

func talk(wantBody bool) *conversation {
	return &conversation{wantBody: wantBody, done: make(chan struct{})}
}

func (c *conversation) say(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = append(c.told, what)
}

func (c *conversation) ResponseHeaders(h Head, _ func(time.Duration) error) Change {
	i := slices.IndexFunc(h.Headers, func(h Header) bool { return h.Name == ":status" })
	c.say("headers " + h.Headers[i].Value)
	return Change{SetHeaders: [][]byte{option("x-theirs", "yes")}}
}

func (c *conversation) ResponseBody(part mem.BufferSlice, end, _ bool, _ func(time.Duration) error) Change {
	b := part.Materialize()
	part.Free()
	c.say(fmt.Sprint("body ", string(b), " ", end))
	return Change{BodyChanged: true, Body: mem.BufferSlice{mem.SliceBuffer(strings.ToUpper(string(b)))}}
}

func (c *conversation) WantsResponse() (headers, body bool) { return true, c.wantBody }

func (c *conversation) Close(complete bool) {
	c.say(fmt.Sprint("closed ", complete))
	select {
	case <-c.done:
		panic("closed twice")
	default:
		close(c.done)
	}
}

// all is what the exchange was told, once it is closed.
func (c *conversation) all(t *testing.T) string {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(20 * time.Second):
		t.Fatal("the exchange was not closed")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.told, ", ")
}

func option(name, value string) []byte {
	b, err := proto.Marshal(&corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, RawValue: []byte(value)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	})
	if err != nil {
		panic(err)
	}
	return b
}

// namespace encodes metadata of one namespace.
func namespace(t *testing.T, name, value string) []byte {
	t.Helper()
	s, err := structpb.NewStruct(map[string]any{name: map[string]any{"key": value}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func metadataOf(m *resp, namespace string) string {
	return m.GetDynamicMetadata().GetFields()[namespace].GetStructValue().GetFields()["key"].GetStringValue()
}

// whole sends a request and returns the answer with the pick and what becomes of the
// body: nil where it stays.
func (c *call) whole(mode modev3.ProcessingMode_BodySendMode, body string, kv ...string) (m *resp, changed []byte) {
	c.t.Helper()
	head := post(chat, mode, streamed, kv...)
	if mode != duplex {
		c.ask(head)
		m = c.ask(reqBody(body, true))
		if b := m.GetRequestBody().GetResponse().GetBodyMutation(); b != nil {
			changed = append([]byte{}, b.GetBody()...)
		}
		return m, changed
	}
	c.send(head, reqBody(body[:len(body)/2], false), reqBody(body[len(body)/2:], true))
	m = c.recv()
	for {
		part := c.recv().GetRequestBody().GetResponse().GetBodyMutation().GetStreamedResponse()
		changed = append(changed, part.GetBody()...)
		if part.GetEndOfStream() {
			return m, changed
		}
	}
}

func requestOf(m *resp) *extprocv3.CommonResponse {
	if c := m.GetRequestBody().GetResponse(); c != nil {
		return c
	}
	return m.GetRequestHeaders().GetResponse()
}

func TestModelReplaced(t *testing.T) {
	for _, tt := range []struct{ name, body, model, want string }{
		{"shorter", `{"model": "llama-with-a-name","messages":[]}`, "m", `{"model": "m","messages":[]}`},
		{"longer, escaped", `{ "messages":[],"model":"a"}`, `b"<é`, `{ "messages":[],"model":"b\"<é"}`},
		{"none", `{"messages":[]}`, "m", `{"messages":[]}`},
		{"not asked for", `{"model":"a"}`, "", `{"model":"a"}`},
	} {
		for _, mode := range []modev3.ProcessingMode_BodySendMode{buffered, duplex} {
			t.Run(fmt.Sprint(tt.name, " ", mode), func(t *testing.T) {
				h := newHarness(t, Options{})
				h.picker.pick = func(context.Context, *Request) (Pick, error) {
					return Pick{Destinations: "10.0.0.1:8000,10.0.0.2:8000", Model: tt.model, Metadata: namespace(t, "ours", "1")}, nil
				}
				c := h.open()
				m, body := c.whole(mode, tt.body, "content-length", strconv.Itoa(len(tt.body)))
				set := setHeaders(t, requestOf(m).GetHeaderMutation())
				if body == nil {
					body = []byte(tt.body)
				} else if mode == buffered && set["content-length"] != strconv.Itoa(len(tt.want)) {
					t.Errorf("content-length %q for %d bytes", set["content-length"], len(tt.want))
				}
				if string(body) != tt.want {
					t.Errorf("the body became %s, want %s", body, tt.want)
				}
				removed := slices.Contains(requestOf(m).GetHeaderMutation().GetRemoveHeaders(), "content-length")
				if mode == duplex && removed != (tt.want != tt.body) {
					t.Errorf("content-length removed: %v", removed)
				}
				if tt.want == tt.body && mode == buffered && requestOf(m).GetBodyMutation() != nil {
					t.Error("an unchanged body is sent again")
				}
				if set[DestinationHeader] == "" || metadataOf(m, "ours") != "1" || m.GetDynamicMetadata().GetFields()["envoy.lb"] == nil || !requestOf(m).GetClearRouteCache() {
					t.Errorf("the pick is not all there: %v", m)
				}
				c.finish()
			})
		}
	}
}

// Where the body cannot be changed, the request must not go to a server under a name
// that is not its own.
func TestModelStays(t *testing.T) {
	for _, mode := range []modev3.ProcessingMode_BodySendMode{partial, streamed} {
		h := newHarness(t, Options{})
		o := newObserver(t)
		h.picker.pick = func(context.Context, *Request) (Pick, error) { return Pick{Model: "m", Observer: o}, nil }
		c := h.open()
		c.ask(post(chat, mode, streamed))
		if m := c.ask(reqBody(chatBody, true)).GetImmediateResponse(); m.GetStatus().GetCode() != 500 {
			t.Errorf("%v: %v", mode, m)
		}
		o.wait()
	}
}

// A picker that asked a foreign one is answered with both's changes, and the response
// goes to the foreign one and to the observer.
func TestPickWithExchange(t *testing.T) {
	for _, mode := range []modev3.ProcessingMode_BodySendMode{buffered, duplex} {
		t.Run(mode.String(), func(t *testing.T) {
			h := newHarness(t, Options{})
			x, o := talk(true), newObserver(t)
			o.set = []Header{{"x-ours", "yes"}}
			h.picker.pick = func(context.Context, *Request) (Pick, error) {
				return Pick{
					SetHeaders: []Header{{"x-fairway-route", "r"}}, Metadata: namespace(t, "ours", "1"), Observer: o, Exchange: x,
					ResponseHeaders: []Header{{"x-also", "yes"}},
					Change: &Change{
						SetHeaders: [][]byte{option(DestinationHeader, "1.1.1.1:1")}, RemoveHeaders: []string{"x-gone"}, ClearRouteCache: true,
						Metadata:    append(namespace(t, "theirs", "2"), namespace(t, "ours", "forged")...),
						BodyChanged: true, Body: mem.BufferSlice{mem.SliceBuffer("theirs")},
					},
				}, nil
			}
			c := h.open()
			m, body := c.whole(mode, chatBody, "x-gateway-inference-objective", "gold", "x-fairway-route", "evil", "x-fairway-x", "evil", DestinationHeader, "6.6.6.6:6")
			mutation := requestOf(m).GetHeaderMutation()
			set := setHeaders(t, mutation)
			if string(body) != "theirs" || set[DestinationHeader] != "1.1.1.1:1" || set["x-fairway-route"] != "r" {
				t.Errorf("body %q, headers %v", body, set)
			}
			removed := mutation.GetRemoveHeaders()
			for name, want := range map[string]bool{"x-gone": true, "x-fairway-x": true, "x-fairway-route": false, "x-gateway-inference-objective": false} {
				if slices.Contains(removed, name) != want {
					t.Errorf("%s removed: %v, in %v", name, !want, removed)
				}
			}
			if metadataOf(m, "ours") != "1" || metadataOf(m, "theirs") != "2" {
				t.Errorf("metadata %v", m.GetDynamicMetadata())
			}
			head := setHeaders(t, c.ask(respHeaders(":status", "200")).GetResponseHeaders().GetResponse().GetHeaderMutation())
			if head["x-theirs"] != "yes" || head["x-ours"] != "yes" || head["x-also"] != "yes" {
				t.Errorf("response headers %v", head)
			}
			if got := c.ask(respBody("ab", false)).GetResponseBody().GetResponse().GetBodyMutation(); string(got.GetBody()) != "AB" {
				t.Errorf("response body %v", got)
			}
			c.ask(respBody("c", true))
			c.finish()
			if got := x.all(t); got != "headers 200, body ab false, body c true, closed true" {
				t.Errorf("the exchange was told: %s", got)
			}
			if out := o.wait(); !out.Complete || out.Status != 200 || out.ResponseBytes != 3 || o.first != 1 {
				t.Errorf("%+v, %d first tokens", out, o.first)
			}
		})
	}
}

// An exchange is closed once, however the request ends.
func TestExchangeClosed(t *testing.T) {
	for name, tt := range map[string]struct {
		pick func(Pick) (Pick, error)
		end  func(c *call)
		want string
	}{
		"client leaves": {nil, func(c *call) { c.cancel() }, "closed false"},
		"client leaves in the response": {nil, func(c *call) {
			c.ask(respHeaders(":status", "200"))
			c.cancel()
		}, "headers 200, closed false"},
		"no response": {nil, func(c *call) { c.finish() }, "closed false"},
		"bad metadata": {nil, func(c *call) {
			m := respHeaders(":status", "200")
			m.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.lb": nil}}
			c.send(m, respHeaders(":status", "200"))
		}, "headers 200, closed false"},
		"bad destinations": {func(p Pick) (Pick, error) { p.Destinations = "a\nb"; return p, nil }, func(*call) {}, "closed false"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, Options{})
			x := talk(true)
			h.picker.pick = func(context.Context, *Request) (Pick, error) {
				p := Pick{Exchange: x, Change: &Change{}}
				if tt.pick != nil {
					return tt.pick(p)
				}
				return p, nil
			}
			c := h.open()
			c.whole(buffered, chatBody)
			tt.end(c)
			if got := x.all(t); got != tt.want {
				t.Errorf("told: %s, want %s", got, tt.want)
			}
		})
	}
}

// A refusal of a foreign picker is answered as it is.
func TestPickWithImmediate(t *testing.T) {
	h := newHarness(t, Options{})
	answer, err := proto.Marshal(&extprocv3.ImmediateResponse{Status: &typev3.HttpStatus{Code: 429}, Body: []byte("busy"), Details: "theirs"})
	if err != nil {
		t.Fatal(err)
	}
	h.picker.pick = func(context.Context, *Request) (Pick, error) {
		return Pick{Model: "m", Change: &Change{Immediate: answer, ImmediateStatus: 429}}, nil
	}
	m, _ := h.open().whole(buffered, chatBody)
	if i := m.GetImmediateResponse(); i.GetStatus().GetCode() != 429 || string(i.GetBody()) != "busy" || i.GetDetails() != "theirs" {
		t.Errorf("%v", m)
	}
}

type noForeign struct{}

func (noForeign) Consult(context.Context, string) Exchange { return nil }

// A picker can show the request to a foreign one as the server itself would.
func TestRequestForOthers(t *testing.T) {
	for _, mode := range []modev3.ProcessingMode_BodySendMode{buffered, duplex, partial, streamed} {
		h := newHarness(t, Options{Foreign: noForeign{}})
		var head Head
		var names, body, renamed string
		var known bool
		h.picker.pick = func(_ context.Context, r *Request) (Pick, error) {
			head = r.Head()
			for _, h := range head.Headers {
				names += h.Name + " "
			}
			parts, ok := r.BodyParts("")
			body, known = string(parts.Materialize()), ok
			parts.Free()
			parts, _ = r.BodyParts("other")
			renamed = string(parts.Materialize())
			parts.Free()
			head.Metadata = slices.Clone(head.Metadata)
			return Pick{}, nil
		}
		c := h.open(PoolMetadata, "routes:a/b")
		first := withMetadata(t, post(chat, mode, streamed, "x-gateway-inference-objective", "gold", "x-fairway-x", "1", DestinationHeader, "6"), "envoy.lb.subset_hint", "k", "v")
		first.Attributes = map[string]*structpb.Struct{"envoy.filters.http.ext_proc": {}}
		if mode == duplex {
			c.send(first, reqBody(chatBody[:9], false), reqBody(chatBody[9:], true))
			c.recv()
		} else {
			c.ask(first)
			c.ask(reqBody(chatBody, true))
		}
		if names != ":method :path :authority content-type x-gateway-inference-objective x-request-id " {
			t.Errorf("%v: headers %s", mode, names)
		}
		var md corev3.Metadata
		if err := proto.Unmarshal(head.Metadata, &md); err != nil || md.GetFilterMetadata()["envoy.lb.subset_hint"] == nil || len(head.Attributes) != 1 {
			t.Errorf("%v: metadata %v, %v, %d attributes", mode, &md, err, len(head.Attributes))
		}
		if known != (mode != streamed) || known && (body != chatBody || renamed != strings.Replace(chatBody, "llama", "other", 1)) {
			t.Errorf("%v: body %q, %q, known: %v", mode, body, renamed, known)
		}
		c.cancel()
	}
	r := NewRequest([]Header{{"a", "b"}}, nil)
	if _, ok := r.BodyParts("m"); ok || len(r.Head().Headers) != 2 || len((&Request{}).Head().Headers) != 1 {
		t.Error("a request that is not the server's")
	}
}

// skipper is an observer that wants no body.
type skipper struct{ *fakeObserver }

func (skipper) SkipsBody() bool { return true }

func TestBodySkipped(t *testing.T) {
	for _, x := range []*conversation{nil, talk(false), talk(true)} {
		h := newHarness(t, Options{})
		o := newObserver(t)
		o.set = []Header{{"x-ours", "yes"}}
		h.picker.pick = func(context.Context, *Request) (Pick, error) {
			p := Pick{Observer: skipper{o}}
			if x != nil {
				p.Exchange, p.Change = x, &Change{}
			}
			return p, nil
		}
		c := h.open()
		c.whole(buffered, chatBody)
		m := c.ask(respHeaders(":status", "200"))
		if got := setHeaders(t, m.GetResponseHeaders().GetResponse().GetHeaderMutation())["x-ours"]; got != "yes" {
			t.Errorf("x-ours %q", got)
		}
		if wants := x != nil && x.wantBody; (m.GetModeOverride() == nil) != wants {
			t.Errorf("mode_override %v, body wanted: %v", m.GetModeOverride(), wants)
		}
		c.finish()
		if out := o.wait(); out.Status != 200 || o.first != 0 || !out.Complete {
			t.Errorf("%+v", out)
		}
	}
}

// FuzzReplaceModel: all but the name stays as it was, wherever buffers are cut.
func FuzzReplaceModel(f *testing.F) {
	f.Add(`{"model":"a","x":1}`, "b", 3)
	f.Add(` { "x" : [ ] , "model" : "\u0061" } `, "", 1)
	f.Fuzz(func(t *testing.T, body, model string, cut int) {
		s := scan.New(scan.Options{})
		s.Reset(scan.ChatCompletions)
		if s.Write([]byte(body)) != nil {
			return
		}
		r, err := s.Finish()
		if err != nil {
			return
		}
		cut = max(cut&0xff, 1)
		var parts mem.BufferSlice
		for rest := []byte(body); len(rest) > 0; {
			n := min(cut, len(rest))
			parts = append(parts, mem.SliceBuffer(rest[:n:n]))
			rest = rest[n:]
		}
		got := ReplaceModel(parts, r.ModelStart, r.ModelEnd, model, r.Form).Materialize()
		if r.ModelEnd == 0 {
			if string(got) != body {
				t.Fatalf("%q became %q", body, got)
			}
			return
		}
		head, tail := body[:r.ModelStart], body[r.ModelEnd:]
		rest, ok := strings.CutPrefix(string(got), head)
		name, ok2 := strings.CutSuffix(rest, tail)
		var back, want string
		once, _ := json.Marshal(model)
		_ = json.Unmarshal(once, &want) // without what is no UTF-8
		if err := json.Unmarshal([]byte(name), &back); !ok || !ok2 || err != nil || back != want {
			t.Fatalf("%q became %q: %q, want %q, %v", body, got, back, want, err)
		}
	})
}

// In a form, the name is plain text.
func TestReplaceModelInForm(t *testing.T) {
	body := "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--x--\r\n"
	s := scan.New(scan.Options{})
	s.Reset(scan.APIFromPath("/v1/audio/transcriptions"))
	if err := s.ContentType("multipart/form-data; boundary=x"); err != nil {
		t.Fatal(err)
	}
	if err := s.Write([]byte(body)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Finish()
	if err != nil {
		t.Fatal(err)
	}
	got := ReplaceModel(mem.BufferSlice{mem.SliceBuffer(body)}, r.ModelStart, r.ModelEnd, "whisper-large", r.Form).Materialize()
	if want := strings.Replace(body, "whisper-1", "whisper-large", 1); string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
