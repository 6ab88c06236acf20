package epp

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// The protocol's names.
const (
	destinationHeader    = "x-gateway-destination-endpoint"
	destinationNamespace = "envoy.lb"
	servedKey            = "x-gateway-destination-endpoint-served"
	subsetNamespace      = "envoy.lb.subset_hint"
	subsetKey            = "x-gateway-destination-endpoint-subset"
	requestIDHeader      = "x-request-id"

	chatPath = "/v1/chat/completions"
	listPath = "/v1/models"
	// opaquePath is no API's, so that a picker does not expect JSON there.
	opaquePath = "/conformance/opaque"
)

// request is an HTTP request as a gateway shows it to a picker.
type request struct {
	id     string
	method string
	path   string
	set    [][2]string // headers besides the usual ones
	body   []byte
	// bodyless ends the request with its headers.
	bodyless bool
	// frame is how many body bytes go in one message; 0 sends 1 MiB at a time,
	// what Envoy sends at most.
	frame int
	// tail ends the body with an empty message of its own, as HTTP/2 does.
	tail bool
	// trailers end the request instead of the body.
	trailers bool
	// subset restricts the endpoints, when not nil.
	subset *structpb.Value
	// buffered sends the body in body mode BUFFERED.
	buffered bool
}

// nextID returns a request ID that was not used before.
func (s *session) nextID() string {
	return fmt.Sprintf("conformance-%06d", s.requests.Add(1))
}

// model is the model's name as JSON.
func (s *session) model() []byte {
	b, _ := json.Marshal(s.o.Model)
	return b
}

// chat is a chat completions request with a body of size bytes, or the few bytes
// that one takes. No two are alike. Keys, numbers and escapes are written as an
// encoder would not write them again.
func (s *session) chat(size int) request {
	id := s.nextID()
	head := fmt.Sprintf(`{"model": %s,"stream":true, "temperature":1.0,"messages":[{"role":"user","content":"caf\u00e9 \/ %s `, s.model(), id)
	const tail = `"}] ,"max_tokens":16}`
	pad := max(size-len(head)-len(tail), 0)
	var b strings.Builder
	b.Grow(len(head) + pad + len(tail))
	b.WriteString(head)
	// Unlike from one position to the next, so that no piece can be mistaken for
	// another one.
	for n := 0; pad > 0; n++ {
		word := id[len(id)-6:] + "-" + strconv.Itoa(n) + " "
		word = word[:min(len(word), pad)]
		pad -= len(word)
		b.WriteString(word)
	}
	b.WriteString(tail)
	return request{id: id, method: "POST", path: chatPath, body: []byte(b.String())}
}

// get is a request without a body.
func (s *session) get() request {
	return request{id: s.nextID(), method: "GET", path: listPath, bodyless: true}
}

// String describes the request.
func (r *request) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", r.method, r.path)
	if r.bodyless {
		b.WriteString(" without a body")
	} else {
		n := len(r.frames())
		fmt.Fprintf(&b, " with a body of %d bytes in %d message", len(r.body), n)
		if n != 1 {
			b.WriteByte('s')
		}
		if r.trailers {
			b.WriteString(" and trailers")
		}
		if r.buffered {
			b.WriteString(", body mode BUFFERED")
		}
	}
	if r.subset != nil {
		j, _ := r.subset.MarshalJSON()
		fmt.Fprintf(&b, ", subset %s", j)
	}
	return b.String()
}

// headerList is what the headers message says.
func (r *request) headerList() [][2]string {
	h := [][2]string{
		{":method", r.method}, {":scheme", "https"}, {":authority", "conformance.example.com"}, {":path", r.path},
		{"user-agent", "fairway-conformance"}, {"accept", "*/*"},
	}
	if r.id != "" {
		h = append(h, [2]string{requestIDHeader, r.id})
	}
	if !r.bodyless {
		h = append(h, [2]string{"content-type", "application/json"})
		if !r.trailers {
			h = append(h, [2]string{"content-length", strconv.Itoa(len(r.body))})
		}
	}
	return append(h, r.set...)
}

// frames are the body messages.
func (r *request) frames() []*extprocv3.HttpBody {
	if r.bodyless {
		return nil
	}
	frame := r.frame
	if frame == 0 {
		frame = 1 << 20
	}
	if r.buffered {
		frame = max(len(r.body), 1)
	}
	return split(r.body, frame, r.tail, !r.trailers)
}

// split cuts a body into messages, the last of which ends it when end is set.
func split(body []byte, frame int, tail, end bool) []*extprocv3.HttpBody {
	var out []*extprocv3.HttpBody
	for len(body) > 0 {
		n := min(frame, len(body))
		out = append(out, &extprocv3.HttpBody{Body: body[:n]})
		body = body[n:]
	}
	if len(out) == 0 || tail {
		out = append(out, &extprocv3.HttpBody{})
	}
	out[len(out)-1].EndOfStream = end
	return out
}

// messages are what a gateway sends for the request.
func (r *request) messages() []*extprocv3.ProcessingRequest {
	mode := modev3.ProcessingMode_FULL_DUPLEX_STREAMED
	config := &extprocv3.ProtocolConfiguration{RequestBodyMode: mode, ResponseBodyMode: mode}
	if r.buffered {
		config.RequestBodyMode, config.ResponseBodyMode = modev3.ProcessingMode_BUFFERED, modev3.ProcessingMode_NONE
	}
	head := &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{
			Headers: headerMap(r.headerList()), EndOfStream: r.bodyless,
		}},
		ProtocolConfig: config,
	}
	if r.subset != nil {
		head.MetadataContext = metadata(subsetNamespace, subsetKey, r.subset)
	}
	out := []*extprocv3.ProcessingRequest{head}
	for _, f := range r.frames() {
		out = append(out, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: f}})
	}
	if r.trailers {
		out = append(out, &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestTrailers{
			RequestTrailers: &extprocv3.HttpTrailers{Trailers: headerMap([][2]string{{"x-conformance-trailer", "1"}})},
		}})
	}
	return out
}

func headerMap(h [][2]string) *corev3.HeaderMap {
	m := &corev3.HeaderMap{}
	for _, kv := range h {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: kv[0], RawValue: []byte(kv[1])})
	}
	return m
}

func metadata(namespace, key string, v *structpb.Value) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		namespace: {Fields: map[string]*structpb.Value{key: v}},
	}}
}

// subsetOf is a subset hint as the protocol has it, a list of strings.
func subsetOf(a ...netip.AddrPort) *structpb.Value {
	l := &structpb.ListValue{}
	for _, e := range a {
		l.Values = append(l.Values, structpb.NewStringValue(e.String()))
	}
	return structpb.NewListValue(l)
}

// ask opens a stream and sends all of r. The caller cancels the stream.
func (s *session) ask(ctx context.Context, r request) (*stream, error) {
	x, err := s.open(ctx, r.String())
	if err != nil {
		return nil, err
	}
	x.send(r.messages()...)
	return x, nil
}

// sameBody reports whether a model server would see the same request: the same
// bytes, or JSON that means the same but for the model, which a picker may
// rewrite.
func sameBody(got, want []byte) bool {
	if string(got) == string(want) {
		return true
	}
	var g, w map[string]any
	if json.Unmarshal(got, &g) != nil || json.Unmarshal(want, &w) != nil {
		return false
	}
	delete(g, "model")
	delete(w, "model")
	return reflect.DeepEqual(g, w)
}
