package relay

import (
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/extproc"
)

func headerMap(kv ...string) *corev3.HeaderMap {
	m := &corev3.HeaderMap{}
	for i := 0; i+1 < len(kv); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: kv[i], RawValue: []byte(kv[i+1])})
	}
	return m
}

func post(request, response modev3.ProcessingMode_BodySendMode, kv ...string) *req {
	kv = append([]string{":method", "POST", ":path", chat, ":authority", "example.com"}, kv...)
	return &req{
		Request:        &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: headerMap(kv...)}},
		ProtocolConfig: &extprocv3.ProtocolConfiguration{RequestBodyMode: request, ResponseBodyMode: response},
	}
}

func reqBody(b string, end bool) *req {
	return &req{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(b), EndOfStream: end}}}
}

func respBody(b string, end bool) *req {
	return &req{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{Body: []byte(b), EndOfStream: end}}}
}

func respHeaders(kv ...string) *req {
	kv = append([]string{":status", "200"}, kv...)
	return &req{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: headerMap(kv...)}}}
}

func withMetadata(m *req, namespace, key, value string) *req {
	m.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		namespace: {Fields: map[string]*structpb.Value{key: structpb.NewStringValue(value)}},
	}}
	return m
}

// common is the CommonResponse of an answer to headers or a body.
func common(m *resp) *extprocv3.CommonResponse {
	switch {
	case m.GetRequestHeaders() != nil:
		return m.GetRequestHeaders().GetResponse()
	case m.GetRequestBody() != nil:
		return m.GetRequestBody().GetResponse()
	case m.GetResponseHeaders() != nil:
		return m.GetResponseHeaders().GetResponse()
	}
	return m.GetResponseBody().GetResponse()
}

// header is the last value set for a header.
func header(m *resp, name string) string {
	value := ""
	for _, o := range common(m).GetHeaderMutation().GetSetHeaders() {
		if strings.EqualFold(o.GetHeader().GetKey(), name) {
			value = o.GetHeader().GetValue() + string(o.GetHeader().GetRawValue())
		}
	}
	return value
}

func removes(m *resp, name string) bool {
	return slices.Contains(common(m).GetHeaderMutation().GetRemoveHeaders(), name)
}

// wantPick checks that the pick is told in every way.
func wantPick(t testing.TB, m *resp, want string) {
	t.Helper()
	if got := header(m, extproc.DestinationHeader); got != want {
		t.Errorf("destination header %q, want %q in %v", got, want, m)
	}
	if got := m.GetDynamicMetadata().GetFields()["envoy.lb"].GetStructValue().GetFields()[extproc.DestinationHeader].GetStringValue(); got != want {
		t.Errorf("destination metadata %q, want %q", got, want)
	}
	if !common(m).GetClearRouteCache() {
		t.Error("the route is not chosen again")
	}
}

// wantOpen checks that the request goes on as it was.
func wantOpen(t testing.TB, m *resp) {
	t.Helper()
	for _, o := range common(m).GetHeaderMutation().GetSetHeaders() {
		if o.GetHeader().GetKey() != extproc.RequestIDHeader {
			t.Errorf("header %q is set", o.GetHeader().GetKey())
		}
	}
	if m.GetImmediateResponse() != nil || m.GetDynamicMetadata() != nil || common(m).GetBodyMutation() != nil || common(m).GetClearRouteCache() {
		t.Errorf("got %v, want nothing but a request ID", m)
	}
}

func wantClosed(t testing.TB, m *resp) {
	t.Helper()
	i := m.GetImmediateResponse()
	if i.GetStatus().GetCode() != 503 || !strings.Contains(string(i.GetBody()), `"picker_unavailable"`) {
		t.Errorf("got %v, want 503 picker_unavailable", m)
	}
}
