package extproc

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// cut splits b into buffers of n bytes, with empty ones between.
func cut(b []byte, n int) (out mem.BufferSlice) {
	for len(b) > 0 {
		k := min(n, len(b))
		out = append(out, mem.SliceBuffer(b[:k:k]), mem.SliceBuffer(nil))
		b = b[k:]
	}
	return out
}

// diff compares what m decoded with the generated type's view; "" when equal.
func diff(m *message, want *req) string {
	var payload []byte
	var headers *corev3.HeaderMap
	k, end := kindNone, false
	switch q := want.GetRequest().(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		k, headers, end = kindRequestHeaders, q.RequestHeaders.GetHeaders(), q.RequestHeaders.GetEndOfStream()
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		k, headers, end = kindResponseHeaders, q.ResponseHeaders.GetHeaders(), q.ResponseHeaders.GetEndOfStream()
	case *extprocv3.ProcessingRequest_RequestBody:
		k, payload, end = kindRequestBody, q.RequestBody.GetBody(), q.RequestBody.GetEndOfStream()
	case *extprocv3.ProcessingRequest_ResponseBody:
		k, payload, end = kindResponseBody, q.ResponseBody.GetBody(), q.ResponseBody.GetEndOfStream()
	case *extprocv3.ProcessingRequest_RequestTrailers:
		k, headers = kindRequestTrailers, q.RequestTrailers.GetTrailers()
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		k, headers = kindResponseTrailers, q.ResponseTrailers.GetTrailers()
	}
	if m.kind != k || m.endOfStream != end || m.observability != want.GetObservabilityMode() {
		return "kind, end_of_stream or observability_mode"
	}
	if c := want.GetProtocolConfig(); c == nil {
		if m.requestMode != modeUnknown || m.responseMode != modeUnknown {
			return "protocol_config"
		}
	} else if int32(m.requestMode) != int32(c.GetRequestBodyMode()) || int32(m.responseMode) != int32(c.GetResponseBodyMode()) ||
		m.sendsBody != c.GetSendBodyWithoutWaitingForHeaderResponse() {
		return "protocol_config"
	}
	switch k {
	case kindRequestBody, kindResponseBody:
		var got []byte
		_ = m.pieces(m.payload, func(b mem.Buffer, lo, hi int) error {
			got = append(got, b.ReadOnlyData()[lo:hi]...)
			return nil
		})
		if !bytes.Equal(got, payload) {
			return "body"
		}
	case kindNone:
	default:
		var h Headers
		if err := m.headers(&h); err != nil {
			return "headers: " + err.Error()
		}
		if len(h.list) != len(headers.GetHeaders()) {
			return "number of headers"
		}
		for i, w := range headers.GetHeaders() {
			v := w.GetValue()
			if len(w.GetRawValue()) > 0 {
				v = string(w.GetRawValue())
			}
			if h.list[i] != (Header{w.GetKey(), v}) {
				return "header " + w.GetKey()
			}
		}
	}
	md := want.GetMetadataContext().GetFilterMetadata()
	served, err := m.served()
	if err != nil || served != md[metadataNamespace].GetFields()[servedKey].GetStringValue() {
		return "served"
	}
	subset, has, err := m.subset()
	v, wantHas := md[subsetNamespace].GetFields()[subsetKey]
	var wantSubset []string
	for _, s := range v.GetListValue().GetValues() {
		wantSubset = appendEndpoint(wantSubset, s.GetStringValue())
	}
	for _, s := range strings.Split(v.GetStringValue(), ",") {
		wantSubset = appendEndpoint(wantSubset, s)
	}
	if err != nil || has != wantHas || !slices.Equal(subset, wantSubset) {
		return "subset"
	}
	return ""
}

func seedMessages(t testing.TB) []*req {
	headers := post("/v1/chat/completions", duplex, streamed, "x", "y")
	headers.GetRequestHeaders().Headers.Headers[0] = &corev3.HeaderValue{Key: ":method", Value: "POST"}
	headers.ProtocolConfig.SendBodyWithoutWaitingForHeaderResponse = true
	headers.Attributes = map[string]*structpb.Struct{"envoy.filters.http.ext_proc": {}}
	observed := reqBody("x", false)
	observed.ObservabilityMode = true
	return []*req{
		{},
		headers,
		ended(post("/", none, none)),
		reqBody(chatBody, true), reqBody(strings.Repeat("z", 40000), false), respBody("", true), observed,
		reqTrailers(), respTrailers(), respHeaders(":status", "200"),
		withMetadata(t, respHeaders(":status", "200"), metadataNamespace, servedKey, "10.0.0.1:80"),
		withMetadata(t, post("/", duplex, duplex), subsetNamespace, subsetKey, []any{"10.0.0.1:80", 3.5, " 10.0.0.2:80 ", ""}),
		withMetadata(t, post("/", duplex, duplex), subsetNamespace, subsetKey, "10.0.0.1:80, 10.0.0.2:80,"),
		withMetadata(t, post("/", duplex, duplex), subsetNamespace, subsetKey, []any{}),
		withMetadata(t, post("/", duplex, duplex), subsetNamespace, subsetKey, true),
		withMetadata(t, post("/", duplex, duplex), subsetNamespace, subsetKey, map[string]any{"a": nil}),
	}
}

func TestMessage(t *testing.T) {
	var m message
	defer m.release()
	for _, want := range seedMessages(t) {
		b, err := proto.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{1, 2, 7, 1000, 1 << 20} {
			if err := m.unmarshal(cut(b, n)); err != nil {
				t.Fatalf("%v in buffers of %d: %v", want, n, err)
			}
			if d := diff(&m, want); d != "" {
				t.Errorf("%v in buffers of %d: %s differs", want, n, d)
			}
		}
	}
}

func TestMessageTruncated(t *testing.T) {
	b, err := proto.Marshal(withMetadata(t, post("/", duplex, duplex), subsetNamespace, subsetKey, "a"))
	if err != nil {
		t.Fatal(err)
	}
	var m message
	for n := range b {
		// What is cut between two fields is a valid, shorter message.
		want := proto.Unmarshal(b[:n], &req{})
		if got := m.unmarshal(cut(b[:n], 5)); (got == nil) != (want == nil) {
			t.Errorf("cut at %d of %d: error %v, generated code says %v", n, len(b), got, want)
		}
	}
}

func TestMessageMalformed(t *testing.T) {
	for name, b := range map[string]string{
		"field number 0":        "\x02\x00",
		"field number too big":  "\xff\xff\xff\xff\xff\x01\x00",
		"group":                 "\x0b\x0c",
		"wire type 7":           "\x0f",
		"varint of 11 bytes":    "\x50\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"varint over 64 bits":   "\x50\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
		"length beyond the end": "\x22\x05abc",
		"huge length":           "\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
		"inner beyond outer":    "\x22\x03\x0a\x05ab",
		"fixed32 cut":           "\x0d\x00\x00",
		"fixed64 cut":           "\x09\x00\x00",
	} {
		var m message
		if err := m.unmarshal(cut([]byte(b), 3)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestHeadersBounded(t *testing.T) {
	var h Headers
	if err := h.parse(strings.Repeat("\x0a\x00", maxHeaders)); err != nil {
		t.Errorf("%d headers: %v", maxHeaders, err)
	}
	if err := h.parse(strings.Repeat("\x0a\x00", maxHeaders+1)); err == nil {
		t.Errorf("%d headers: no error", maxHeaders+1)
	}
	b, err := proto.Marshal(respHeaders("a", strings.Repeat("x", maxSmall)))
	if err != nil {
		t.Fatal(err)
	}
	var m message
	if err := m.unmarshal(cut(b, 1<<14)); err != nil {
		t.Fatal(err)
	}
	if err := m.headers(&h); err == nil {
		t.Error("headers of more than 1 MiB: no error")
	}
}

// FuzzMessage compares the decoder with the generated code.
func FuzzMessage(f *testing.F) {
	for _, m := range seedMessages(f) {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint64(len(b)))
	}
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		n := 1 + rand.New(rand.NewPCG(seed, 1)).IntN(40)
		var m message
		if m.unmarshal(cut(b, n)) == nil {
			// Whatever it is, reading it must not panic.
			_ = m.headers(&Headers{})
			_, _ = m.served()
			_, _, _ = m.subset()
		}
		var want req
		if (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, &want) != nil {
			return
		}
		// Encoded again, so that merged and repeated fields occur once.
		b, err := proto.Marshal(&want)
		if err != nil {
			return
		}
		if err := m.unmarshal(cut(b, n)); err != nil {
			t.Fatalf("generated code accepts what fails with %v: %v", err, &want)
		}
		if d := diff(&m, &want); d != "" {
			t.Fatalf("%s differs in %v", d, &want)
		}
	})
}
