package epp

import (
	"context"
	"io"
	"path/filepath"
	"testing"
	"time"

	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fairway-ai/fairway/epp/explain"
)

// benchServer serves a pool on a unix socket.
func benchServer(b *testing.B, e Endpoints) *grpc.ClientConn {
	b.Helper()
	ring := explain.NewRing(0)
	p, err := New(Options{Pools: onePool(e), Hold: true, Explain: ring, Seed: 1})
	if err != nil {
		b.Fatal(err)
	}
	s, err := NewServer(ServerOptions{
		Picker: p, UnixSocket: filepath.Join(b.TempDir(), "s"), Explain: ring, DrainTimeout: time.Second,
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	conn, err := grpc.NewClient("unix:"+s.o.UnixSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = conn.Close()
		stop()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	return conn
}

// oneExchange is one request and its response.
func oneExchange(b *testing.B, client extprocv3.ExternalProcessorClient, body []byte) {
	s, err := client.Process(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range []*extprocv3.ProcessingRequest{
		{
			Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: headerMap(
				":method", "POST", ":path", "/v1/chat/completions", "x-request-id", "r", "content-type", "application/json")},
			ProtocolConfig: &extprocv3.ProtocolConfiguration{
				RequestBodyMode: modev3.ProcessingMode_BUFFERED, ResponseBodyMode: modev3.ProcessingMode_STREAMED,
			},
		},
		{Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: body, EndOfStream: true}}},
		{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: headerMap(":status", "200", "content-type", "text/event-stream")}},
		{Request: &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{
			Body: []byte("data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n"), EndOfStream: true}}},
	} {
		if err := s.Send(m); err != nil {
			b.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.CloseSend(); err != nil {
		b.Fatal(err)
	}
	if _, err := s.Recv(); err != io.EOF {
		b.Fatal(err)
	}
}
