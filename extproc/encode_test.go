package extproc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

func options(kv ...string) (out []*corev3.HeaderValueOption) {
	for i := 0; i < len(kv); i += 2 {
		out = append(out, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: kv[i], RawValue: []byte(kv[i+1])},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return out
}

// TestEncode compares every answer with the generated types.
func TestEncode(t *testing.T) {
	// Lengths on both sides of what one, two and three length bytes hold.
	for _, n := range []int{0, 1, 30, 100, 127, 128, 129, 5000, 16383, 16384, 70000} {
		v := strings.Repeat("x", n)
		more, err := proto.Marshal(&structpb.Struct{Fields: map[string]*structpb.Value{"more": structpb.NewStringValue(v)}})
		if err != nil {
			t.Fatal(err)
		}
		m := &mutation{
			set:             []Header{{"a", v}, {"b", "\xff\x00"}},
			remove:          []string{"c", v},
			destinations:    v + "d",
			scores:          []EndpointScore{{v + "d", 0.75}, {"e", -3}},
			clearRouteCache: true,
			metadata:        more,
		}
		common := &extprocv3.CommonResponse{
			HeaderMutation:  &extprocv3.HeaderMutation{SetHeaders: options("a", v, "b", "\xff\x00"), RemoveHeaders: []string{"c", v}},
			ClearRouteCache: true,
		}
		metadata, err := structpb.NewStruct(map[string]any{
			"envoy.lb": map[string]any{DestinationHeader: v + "d", scoresKey: map[string]any{v + "d": 0.75, "e": -3}}, "more": v,
		})
		if err != nil {
			t.Fatal(err)
		}
		streamed := func(end bool) *extprocv3.BodyResponse {
			return &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{
				Mutation: &extprocv3.BodyMutation_StreamedResponse{StreamedResponse: &extprocv3.StreamedBodyResponse{Body: []byte(v), EndOfStream: end}},
			}}}
		}
		for name, c := range map[string]struct {
			encode func(e *encoder)
			want   *resp
		}{
			"request headers": {
				func(e *encoder) { e.common(kindRequestHeaders, m) },
				&resp{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: common}}, DynamicMetadata: metadata},
			},
			"request body": {
				func(e *encoder) { e.common(kindRequestBody, m) },
				&resp{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{Response: common}}, DynamicMetadata: metadata},
			},
			"request trailers": {
				func(e *encoder) { e.trailers(kindRequestTrailers, m) },
				&resp{Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{}}, DynamicMetadata: metadata},
			},
			"response headers": {
				func(e *encoder) { e.common(kindResponseHeaders, &mutation{skipResponseBody: true}) },
				&resp{
					Response:     &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}},
					ModeOverride: &modev3.ProcessingMode{ResponseBodyMode: modev3.ProcessingMode_NONE},
				},
			},
			"response body": {
				func(e *encoder) { e.common(kindResponseBody, &mutation{}) },
				&resp{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{}}},
			},
			"response trailers": {
				func(e *encoder) { e.trailers(kindResponseTrailers, &mutation{}) },
				&resp{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}},
			},
			"chunk": {
				func(e *encoder) { e.chunk(kindRequestBody, n, false); e.b = append(e.b, v...) },
				&resp{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: streamed(false)}},
			},
			"last chunk": {
				func(e *encoder) { e.chunk(kindResponseBody, n, true); e.b = append(e.b, v...) },
				&resp{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: streamed(true)}},
			},
			"timeout": {
				func(e *encoder) { e.messageTimeout(time.Duration(n) * 1001 * time.Millisecond) },
				&resp{OverrideMessageTimeout: durationpb.New(time.Duration(n) * 1001 * time.Millisecond)},
			},
			"immediate": {
				func(e *encoder) { e.immediate(429, []Header{{"a", v}}, []byte(v), noGRPCStatus, "why") },
				&resp{Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
					Status:  &typev3.HttpStatus{Code: typev3.StatusCode_TooManyRequests},
					Headers: &extprocv3.HeaderMutation{SetHeaders: options("a", v)},
					Body:    []byte(v),
					Details: "why",
				}}},
			},
		} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				var e encoder
				c.encode(&e)
				var got resp
				if err := proto.Unmarshal(e.b, &got); err != nil {
					t.Fatal(err)
				}
				if !proto.Equal(&got, c.want) {
					t.Errorf("got %v, want %v", &got, c.want)
				}
				// Lengths are encoded as short as they can be.
				if size := proto.Size(c.want); n > 0 && len(e.b) != size {
					t.Errorf("encoded in %d bytes, want %d", len(e.b), size)
				}
			})
		}
	}
}
