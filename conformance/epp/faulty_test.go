package epp

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

var testEndpoints = []string{"10.0.0.1:8000", "10.0.0.1:8001", "10.0.0.2:8000"}

// fault is one thing that a picker does wrong; the zero value does all right.
type fault struct {
	list       func(a []string) string                      // writes the picked endpoints
	metadata   func(value string) string                    // "" sets none
	noHeader   bool                                         //
	noClear    bool                                         //
	set        []string                                     // request headers set: name, value, …
	remove     []string                                     // request headers removed
	setAnswer  []string                                     // response headers set
	subset     func(allowed []string, e string) bool        // how a subset is compared
	listOnly   bool                                         // reads no subset that is a string
	grpcErrors bool                                         // instead of ImmediateResponse
	status     int                                          // of an ImmediateResponse, instead of 503
	noGET      bool                                         // refuses requests without a body
	unparsed   bool                                         // takes what is no JSON
	body       func(b []byte) []byte                        // changes request bodies
	answerBody func(b []byte) []byte                        // changes response bodies
	chunk      int                                          // bytes of a chunk, instead of 62,000
	twoEnds    bool                                         // ends each body twice
	bodyFirst  bool                                         // answers the body before the headers
	acks       bool                                         // picks at once and answers bodies without streamed_response
	endsBefore bool                                         // ends a body before its trailers
	noTrailers bool                                         // answers no trailers
	atOnce     bool                                         // sends no response body until it is whole
	noResponse bool                                         // fails at the response
	onServed   bool                                         // fails when an unknown endpoint served
	endError   bool                                         // ends streams with an error
	noEnd      bool                                         // does not end half-closed streams
	leaks      bool                                         // keeps one of 5 places for each request that was cancelled
	strict     bool                                         // refuses what is no JSON object
	mixes      bool                                         // sends the body of another stream when there are several
	noBuffered bool                                         // treats every body as full duplex
	keepsID    bool                                         // makes no request ID
	health     healthgrpc.HealthCheckResponse_ServingStatus // of all services
	services   []string                                     // nil: all of them; empty: no health
}

// hangs reports whether a picker with the fault leaves something unanswered.
func (f *fault) hangs() bool {
	return f.noTrailers || f.atOnce || f.noEnd || f.leaks || f.noBuffered && !f.acks
}

// picker is a plain picker on the generated protocol code, with a fault.
type picker struct {
	extprocv3.UnimplementedExternalProcessorServer
	fault

	places chan struct{} // for requests, when it leaks

	mu     sync.Mutex
	last   []byte // the latest body
	active int
	next   int
}

// servePicker serves a picker with f and returns its address.
func servePicker(t *testing.T, f fault) string {
	t.Helper()
	g := grpc.NewServer(grpc.MaxRecvMsgSize(32 << 20))
	extprocv3.RegisterExternalProcessorServer(g, &picker{fault: f, places: make(chan struct{}, 5)})
	if f.services == nil {
		for _, h := range healthServices {
			f.services = append(f.services, h.service)
		}
	}
	if len(f.services) > 0 {
		h := health.NewServer()
		for _, name := range f.services {
			h.SetServingStatus(name, cmp.Or(f.health, healthgrpc.HealthCheckResponse_SERVING))
		}
		healthgrpc.RegisterHealthServer(g, h)
	}
	return serve(t, g)
}

func serve(t *testing.T, g *grpc.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-done })
	return l.Addr().String()
}

// exchange is one stream of a picker.
type exchange struct {
	*picker
	s        extprocv3.ExternalProcessor_ProcessServer
	buffered bool
	id       string
	bodyless bool
	subset   *structpb.Value
	request  []byte
	response []byte
	answered bool
	started  bool // takes a place
	finished bool
}

func (p *picker) Process(s extprocv3.ExternalProcessor_ProcessServer) error {
	p.mu.Lock()
	p.active++
	p.mu.Unlock()
	defer func() { p.mu.Lock(); p.active--; p.mu.Unlock() }()
	x := &exchange{picker: p, s: s}
	for {
		m, err := s.Recv()
		if err == io.EOF {
			if p.leaks && x.started && !x.finished {
				<-p.places
			}
			if p.endError {
				return status.Error(codes.Internal, "ended")
			}
			if p.noEnd {
				<-s.Context().Done()
			}
			return nil
		}
		if err != nil {
			return err
		}
		if err := x.handle(m); err != nil || x.answered {
			return err
		}
	}
}

func (x *exchange) handle(m *extprocv3.ProcessingRequest) error {
	switch r := m.Request.(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		x.buffered = m.GetProtocolConfig().GetRequestBodyMode() == modev3.ProcessingMode_BUFFERED && !x.noBuffered
		x.subset = m.GetMetadataContext().GetFilterMetadata()[subsetNamespace].GetFields()[subsetKey]
		for _, h := range r.RequestHeaders.GetHeaders().GetHeaders() {
			if h.Key == requestIDHeader {
				x.id = string(h.RawValue)
			}
		}
		x.bodyless = r.RequestHeaders.EndOfStream
		if x.leaks && !x.bodyless {
			select {
			case x.places <- struct{}{}:
				x.started = true
			case <-x.s.Context().Done():
				return x.s.Context().Err()
			}
		}
		switch {
		case x.bodyless && x.noGET:
			return status.Error(codes.InvalidArgument, "no body")
		case x.bodyless || x.acks:
			return x.pick(nil)
		case x.buffered:
			return x.s.Send(requestHeaders(&extprocv3.CommonResponse{}))
		}
	case *extprocv3.ProcessingRequest_RequestBody:
		if x.acks {
			return x.s.Send(requestBody(&extprocv3.CommonResponse{}))
		}
		x.request = append(x.request, r.RequestBody.Body...)
		if r.RequestBody.EndOfStream {
			return x.finish(true)
		}
	case *extprocv3.ProcessingRequest_RequestTrailers:
		if x.noTrailers {
			return nil
		}
		if !x.acks {
			if err := x.finish(x.endsBefore); err != nil {
				return err
			}
		}
		return x.s.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{}}})
	default:
		return x.handleResponse(m)
	}
	return nil
}

func (x *exchange) handleResponse(m *extprocv3.ProcessingRequest) error {
	switch r := m.Request.(type) {
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		served := m.GetMetadataContext().GetFilterMetadata()[destinationNamespace].GetFields()[servedKey].GetStringValue()
		if x.noResponse || x.onServed && !slices.Contains(testEndpoints, served) {
			return status.Error(codes.Internal, "unexpected")
		}
		return x.s.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{
			ResponseHeaders: &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{HeaderMutation: mutation(x.setAnswer, nil)}},
		}})
	case *extprocv3.ProcessingRequest_ResponseBody:
		if x.acks {
			return x.s.Send(responseBody(&extprocv3.CommonResponse{}))
		}
		b := r.ResponseBody.Body
		if x.answerBody != nil {
			b = x.answerBody(b)
		}
		if x.response = append(x.response, b...); x.atOnce && !r.ResponseBody.EndOfStream {
			return nil
		}
		b, x.response = x.response, nil
		return x.chunks(b, r.ResponseBody.EndOfStream, responseBody)
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		if x.noTrailers {
			return nil
		}
		if x.endsBefore {
			if err := x.chunks(nil, true, responseBody); err != nil {
				return err
			}
		}
		return x.s.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}})
	}
	return nil
}

// finish picks for a whole body and sends it on.
func (x *exchange) finish(end bool) error {
	x.finished = true
	if x.leaks {
		<-x.places
	}
	if x.strict && !bytes.HasPrefix(x.request, []byte("{")) {
		return x.immediate(400, "no object")
	}
	if len(x.request) > 1 && !x.unparsed && !json.Valid(x.request) {
		return x.immediate(400, "no JSON")
	}
	b := x.request
	if x.body != nil {
		b = x.body(b)
	}
	x.mu.Lock()
	other := x.last
	x.last = x.request
	if x.mixes && x.active >= 5 && other != nil {
		b = other
	}
	x.mu.Unlock()
	if x.buffered {
		return x.pick(requestBody)
	}
	if x.bodyFirst {
		if err := x.chunks(b, end, requestBody); err != nil {
			return err
		}
		return x.pick(nil)
	}
	if err := x.pick(nil); err != nil || x.answered {
		return err
	}
	return x.chunks(b, end, requestBody)
}

// wrap makes an answer of a common response.
type wrap func(*extprocv3.CommonResponse) *extprocv3.ProcessingResponse

func requestHeaders(c *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: c}}}
}

func requestBody(c *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{Response: c}}}
}

func responseBody(c *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{Response: c}}}
}

// chunks sends a body on, its last chunk marked when end.
func (x *exchange) chunks(b []byte, end bool, as wrap) error {
	send := func(b []byte, end bool) error {
		return x.s.Send(as(&extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{
			Mutation: &extprocv3.BodyMutation_StreamedResponse{StreamedResponse: &extprocv3.StreamedBodyResponse{Body: b, EndOfStream: end}},
		}}))
	}
	size := cmp.Or(x.chunk, 62000)
	for ; len(b) > size; b = b[size:] {
		if err := send(b[:size], false); err != nil {
			return err
		}
	}
	if err := send(b, end); err != nil || !end || !x.twoEnds {
		return err
	}
	return send(nil, true)
}

// pick answers with a pick, in the headers answer unless as says otherwise.
func (x *exchange) pick(as wrap) error {
	eligible := testEndpoints
	if x.subset != nil {
		var allowed []string
		for _, v := range x.subset.GetListValue().GetValues() {
			allowed = append(allowed, v.GetStringValue())
		}
		if v := x.subset.GetStringValue(); v != "" && !x.listOnly {
			allowed = strings.Split(v, ",")
		}
		in := x.fault.subset
		if in == nil {
			in = func(allowed []string, e string) bool { return slices.Contains(allowed, e) }
		}
		eligible = slices.DeleteFunc(slices.Clone(eligible), func(e string) bool { return !in(allowed, e) })
	}
	if len(eligible) == 0 {
		return x.immediate(cmp.Or(x.status, 503), "no endpoints")
	}
	x.mu.Lock()
	x.next++
	n := x.next % len(eligible)
	x.mu.Unlock()
	value := strings.Join(slices.Concat(eligible[n:], eligible[:n]), ",")
	if x.list != nil {
		value = x.list(slices.Concat(eligible[n:], eligible[:n]))
	}
	m := mutation(x.set, x.remove)
	if !x.noHeader {
		m.SetHeaders = append(m.SetHeaders, mutation([]string{destinationHeader, value}, nil).SetHeaders...)
	}
	if x.id == "" && !x.keepsID {
		m.SetHeaders = append(m.SetHeaders, mutation([]string{requestIDHeader, "made"}, nil).SetHeaders...)
	}
	if x.metadata != nil {
		value = x.metadata(value)
	}
	if as == nil {
		as = requestHeaders
	}
	out := as(&extprocv3.CommonResponse{HeaderMutation: m, ClearRouteCache: !x.noClear})
	if value != "" {
		out.DynamicMetadata = &structpb.Struct{Fields: map[string]*structpb.Value{
			destinationNamespace: structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{destinationHeader: structpb.NewStringValue(value)}}),
		}}
	}
	return x.s.Send(out)
}

func (x *exchange) immediate(code int, text string) error {
	if x.grpcErrors {
		return status.Error(codes.Unavailable, text)
	}
	x.answered = true
	return x.s.Send(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{
		ImmediateResponse: &extprocv3.ImmediateResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode(code)}, Body: []byte(text)},
	}})
}

func mutation(set, remove []string) *extprocv3.HeaderMutation {
	m := &extprocv3.HeaderMutation{RemoveHeaders: remove}
	for i := 0; i < len(set); i += 2 {
		m.SetHeaders = append(m.SetHeaders, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: set[i], RawValue: []byte(set[i+1])}})
	}
	return m
}

// reencode writes JSON as Go's encoder does, and leaves alone what is none.
func reencode(b []byte) []byte {
	var v map[string]any
	if json.Unmarshal(b, &v) != nil {
		return b
	}
	var out bytes.Buffer
	_ = json.NewEncoder(&out).Encode(v)
	return out.Bytes()
}
