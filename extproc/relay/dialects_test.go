package relay

import (
	"bytes"
	"io"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// dialect is a foreign picker as they come.
type dialect struct {
	name string
	// How request bodies are answered: streamed back, acknowledged, replaced as
	// buffered ones are, or not at all.
	streams, acks, buffers, silent bool
	headersFirst                   bool // picks before the body
	chunk                          int
	onlyHeader, onlyMetadata       bool
	change                         func([]byte) []byte // of request bodies
	changeResponse                 func([]byte) []byte
	wholeResponse                  bool // answers response bodies at their end
	set                            []string
	seen                           func(*req)
}

func hv(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, RawValue: []byte(value)}}
}

func pickMetadata() *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"envoy.lb": structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{
			"x-gateway-destination-endpoint": structpb.NewStringValue(picked),
		}}),
	}}
}

func answerHeaders(c *extprocv3.CommonResponse) *resp {
	return &resp{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: c}}}
}

func answerBody(c *extprocv3.CommonResponse) *resp {
	return &resp{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{Response: c}}}
}

func answerResponseHeaders(c *extprocv3.CommonResponse) *resp {
	return &resp{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{Response: c}}}
}

func answerResponseBody(c *extprocv3.CommonResponse) *resp {
	return &resp{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{Response: c}}}
}

func replacement(b []byte) *extprocv3.CommonResponse {
	return &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_Body{Body: b}}}
}

func streamedBack(b []byte, end bool) *extprocv3.CommonResponse {
	return &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{Mutation: &extprocv3.BodyMutation_StreamedResponse{
		StreamedResponse: &extprocv3.StreamedBodyResponse{Body: b, EndOfStream: end},
	}}}
}

func immediate(status int, body string) *resp {
	return &resp{Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
		Status: httpStatus(status), Body: []byte(body), Details: "theirs",
		Headers: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{hv("x-reason", "busy")}},
	}}}
}

// pickAnswer answers request headers with the pick.
func (d *dialect) pickAnswer(length int) *resp {
	c := &extprocv3.CommonResponse{ClearRouteCache: true, HeaderMutation: &extprocv3.HeaderMutation{}}
	m := answerHeaders(c)
	if !d.onlyMetadata {
		c.HeaderMutation.SetHeaders = append(c.HeaderMutation.SetHeaders, hv("x-gateway-destination-endpoint", picked))
	}
	if !d.onlyHeader {
		m.DynamicMetadata = pickMetadata()
	}
	c.HeaderMutation.SetHeaders = append(c.HeaderMutation.SetHeaders, hv("content-length", itoa(length)))
	for i := 0; i+1 < len(d.set); i += 2 {
		c.HeaderMutation.SetHeaders = append(c.HeaderMutation.SetHeaders, hv(d.set[i], d.set[i+1]))
	}
	return m
}

// serve plays the picker for one stream.
func (d *dialect) serve(f foreign) error {
	var body, response []byte
	for {
		m, err := f.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if d.seen != nil {
			d.seen(m)
		}
		var answers []*resp
		switch r := m.Request.(type) {
		case *extprocv3.ProcessingRequest_RequestHeaders:
			switch {
			case r.RequestHeaders.EndOfStream || d.headersFirst:
				answers = append(answers, d.pickAnswer(0))
			case d.buffers:
				answers = append(answers, answerHeaders(nil))
			}
		case *extprocv3.ProcessingRequest_RequestBody:
			body = append(body, r.RequestBody.Body...)
			answers = d.requestBody(body, r.RequestBody.EndOfStream)
		case *extprocv3.ProcessingRequest_ResponseHeaders:
			answers = append(answers, answerResponseHeaders(&extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{
				SetHeaders:    []*corev3.HeaderValueOption{hv("x-theirs", "yes")},
				RemoveHeaders: []string{"x-secret"},
			}}))
		case *extprocv3.ProcessingRequest_ResponseBody:
			b, end := r.ResponseBody.Body, r.ResponseBody.EndOfStream
			if d.wholeResponse {
				if response = append(response, b...); !end {
					continue
				}
				b = response
			}
			if d.changeResponse != nil {
				b = d.changeResponse(b)
			}
			switch {
			case d.streams:
				answers = d.chunks(b, end, answerResponseBody)
			case d.changeResponse != nil:
				answers = append(answers, answerResponseBody(replacement(b)))
			default:
				answers = append(answers, answerResponseBody(&extprocv3.CommonResponse{}))
			}
		}
		for _, a := range answers {
			if err := f.Send(a); err != nil {
				return err
			}
		}
	}
}

func (d *dialect) chunks(b []byte, end bool, answer func(*extprocv3.CommonResponse) *resp) (out []*resp) {
	size := d.chunk
	if size == 0 {
		size = 62000
	}
	for len(b) > size {
		out = append(out, answer(streamedBack(b[:size], false)))
		b = b[size:]
	}
	return append(out, answer(streamedBack(b, end)))
}

func (d *dialect) requestBody(body []byte, end bool) (out []*resp) {
	if d.silent {
		return nil
	}
	if !end {
		if d.acks || d.buffers {
			return []*resp{answerBody(&extprocv3.CommonResponse{})}
		}
		return nil
	}
	changed := body
	if d.change != nil {
		changed = d.change(bytes.Clone(body))
	}
	pick := d.pickAnswer(len(changed))
	switch {
	case d.buffers:
		c := replacement(changed)
		c.HeaderMutation, c.ClearRouteCache = pick.GetRequestHeaders().GetResponse().HeaderMutation, true
		a := answerBody(c)
		a.DynamicMetadata = pick.DynamicMetadata
		return []*resp{a}
	case !d.headersFirst:
		out = append(out, pick)
	}
	if d.streams {
		return append(out, d.chunks(changed, true, answerBody)...)
	}
	return append(out, answerBody(&extprocv3.CommonResponse{}))
}

func rename(b []byte) []byte {
	return []byte(strings.ReplaceAll(string(b), "llama", "mixtral-8x7b"))
}
