package relay

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

func itoa(n int) string { return strconv.Itoa(n) }

func httpStatus(code int) *typev3.HttpStatus {
	return &typev3.HttpStatus{Code: typev3.StatusCode(code)}
}

func prompt(n int) string {
	return `{"model":"llama","messages":[{"role":"user","content":"` + strings.Repeat("lorem ipsum ", n/12) + `"}]}`
}

var dialects = []dialect{
	{name: "conformant", streams: true},
	{name: "small chunks", streams: true, chunk: 777},
	{name: "header only", streams: true, onlyHeader: true},
	{name: "metadata only", streams: true, onlyMetadata: true},
	{name: "picks by headers", streams: true, headersFirst: true},
	{name: "acknowledges", acks: true},
	{name: "acknowledges, picks by headers", acks: true, headersFirst: true},
	{name: "buffers", buffers: true},
	{name: "silent about bodies", silent: true, headersFirst: true},
	{name: "changes the body", streams: true, change: rename},
	{name: "buffers and changes the body", buffers: true, change: rename},
	{name: "empties the body", streams: true, change: func([]byte) []byte { return nil }},
	{name: "cuts the body", streams: true, change: func(b []byte) []byte { return b[:len(b)/2] }},
	{name: "adds to the body", streams: true, change: func(b []byte) []byte { return append(b, "more"...) }},
}

// TestDialects asks each kind of picker, in both of Envoy's arrangements.
func TestDialects(t *testing.T) {
	for _, d := range dialects {
		t.Run(d.name, func(t *testing.T) {
			r := newRig(t)
			addr, _ := serve(t, d.serve)
			r.set(addr, false)
			for _, size := range []int{0, 100, 62_000, 220 << 10, 3 << 20} {
				for _, mode := range []string{"buffered", "duplex"} {
					t.Run(fmt.Sprintf("%d/%s", size, mode), func(t *testing.T) {
						body, want := "", ""
						if size > 0 {
							body = prompt(size)
							want = body
							if d.change != nil {
								want = string(d.change([]byte(body)))
							}
						}
						c := r.open()
						if mode == "duplex" {
							wantDuplex(t, c, body, want)
							return
						}
						m := c.request(buffered, body, "content-length", itoa(len(body)))
						wantPick(t, m, picked)
						length := ""
						if want != body {
							length = itoa(len(want))
						}
						if got := header(m, "content-length"); got != length {
							t.Errorf("content-length is set to %q, want %q", got, length)
						}
						mutation := common(m).GetBodyMutation()
						switch {
						case want == body && mutation != nil:
							t.Error("an unchanged body is sent again")
						case want != body && want == "" && !mutation.GetClearBody():
							t.Errorf("the body is not emptied: %v", mutation)
						case want != body && string(mutation.GetBody()) != want:
							t.Errorf("the body of %d bytes became one of %d, want %d", len(body), len(mutation.GetBody()), len(want))
						}
						c.finish()
					})
				}
			}
			r.wantOutcome("picked")
		})
	}
}

func wantDuplex(t *testing.T, c *call, body, want string) {
	t.Helper()
	m := c.request(duplex, body)
	wantPick(t, m, picked)
	if got := removes(m, "content-length"); got != (want != body) {
		t.Errorf("content-length removed: %v", got)
	}
	if body == "" {
		c.finish()
		return
	}
	var got strings.Builder
	for {
		chunk := common(c.recv()).GetBodyMutation().GetStreamedResponse()
		got.Write(chunk.GetBody())
		if chunk.GetEndOfStream() {
			break
		}
	}
	if got.String() != want {
		t.Errorf("the body of %d bytes became one of %d, want %d", len(body), got.Len(), len(want))
	}
	c.finish()
}

// TestWhatThePickerSees checks the first message, the metadata and the headers.
func TestWhatThePickerSees(t *testing.T) {
	var mu sync.Mutex
	var seen []*req
	d := dialect{streams: true, seen: func(m *req) { mu.Lock(); seen = append(seen, m); mu.Unlock() }}
	r := newRig(t)
	addr, _ := serve(t, d.serve)
	r.set(addr, false)
	c := r.open()
	head := withMetadata(post(buffered, streamed, "x-gateway-inference-objective", "gold", "x-fairway-x", "1",
		"x-gateway-destination-endpoint", "6.6.6.6:6", "cookie", "a", "cookie", "b", "x-bytes", "\xff"), "envoy.lb.subset_hint", "x-gateway-destination-endpoint-subset", "10.0.0.1:8000")
	c.ask(head)
	m := c.ask(reqBody(prompt(100), true))
	if !removes(m, "x-fairway-x") || !removes(m, "x-gateway-destination-endpoint") || removes(m, "x-gateway-inference-objective") {
		t.Errorf("the wrong headers are removed: %v", m)
	}
	wantPick(t, m, picked)
	c.ask(withMetadata(respHeaders(), "envoy.lb", "x-gateway-destination-endpoint-served", "10.0.0.1:8000"))
	c.ask(respBody("{}", true))
	c.finish()
	mu.Lock()
	defer mu.Unlock()
	first := seen[0]
	if p := first.GetProtocolConfig(); p.GetRequestBodyMode() != duplex || p.GetResponseBodyMode() != duplex {
		t.Errorf("protocol_config %v", p)
	}
	if got := first.GetMetadataContext().GetFilterMetadata()["envoy.lb.subset_hint"].GetFields()["x-gateway-destination-endpoint-subset"].GetStringValue(); got != "10.0.0.1:8000" {
		t.Errorf("subset %q", got)
	}
	var names []string
	for _, h := range first.GetRequestHeaders().GetHeaders().GetHeaders() {
		names = append(names, h.GetKey()+"="+string(h.GetRawValue()))
	}
	want := ":method=POST :path=" + chat + " :authority=example.com x-gateway-inference-objective=gold cookie=a cookie=b x-bytes=\xff x-request-id=generated-id"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("headers %q, want %q", got, want)
	}
	if b := seen[1].GetRequestBody(); string(b.GetBody()) != prompt(100) || !b.GetEndOfStream() {
		t.Errorf("body %v", b)
	}
	if got := seen[2].GetMetadataContext().GetFilterMetadata()["envoy.lb"].GetFields()["x-gateway-destination-endpoint-served"].GetStringValue(); got != "10.0.0.1:8000" {
		t.Errorf("served %q", got)
	}
	if len(seen) != 4 {
		t.Errorf("%d messages", len(seen))
	}
}

// TestOurPools makes sure that other pools are not affected.
func TestOurPools(t *testing.T) {
	r := newRig(t)
	c := r.open()
	if got := header(c.request(buffered, prompt(100)), "x-gateway-destination-endpoint"); got != "9.9.9.9:9" {
		t.Errorf("picked %q, want our own picker's", got)
	}
	c.finish()
}

// TestImmediate passes the picker's own refusal, whatever the failure mode.
func TestImmediate(t *testing.T) {
	for _, open := range []bool{true, false} {
		for _, at := range []string{"headers", "body", "response"} {
			t.Run(fmt.Sprintf("%s/open=%v", at, open), func(t *testing.T) {
				r := newRig(t)
				d := dialect{streams: true}
				addr, _ := serve(t, func(f foreign) error {
					for {
						m, err := f.Recv()
						if err != nil {
							return err
						}
						_, isHeaders := m.Request.(*extprocv3.ProcessingRequest_RequestHeaders)
						_, isResponse := m.Request.(*extprocv3.ProcessingRequest_ResponseHeaders)
						switch {
						case at == "headers" && isHeaders, at == "response" && isResponse:
							return f.Send(immediate(429, "too busy"))
						case isHeaders:
							continue
						case at == "body":
							return f.Send(immediate(429, "too busy"))
						}
						for _, a := range d.requestBody(m.GetRequestBody().GetBody(), true) {
							if err := f.Send(a); err != nil {
								return err
							}
						}
					}
				})
				r.set(addr, open)
				c := r.open()
				m := c.request(buffered, prompt(1000))
				if at == "response" {
					wantPick(t, m, picked)
					m = c.ask(respHeaders())
				}
				i := m.GetImmediateResponse()
				if i.GetStatus().GetCode() != 429 || string(i.GetBody()) != "too busy" || i.GetDetails() != "theirs" ||
					string(i.GetHeaders().GetSetHeaders()[0].GetHeader().GetRawValue()) != "busy" {
					t.Errorf("got %v", m)
				}
			})
		}
	}
}
