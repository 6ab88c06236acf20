package epp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	// DefaultTimeout is Options.Timeout when zero.
	DefaultTimeout = 10 * time.Second
	// DefaultModel is Options.Model when empty.
	DefaultModel = "conformance"
	// DefaultStreams is Options.Streams when zero.
	DefaultStreams = 200

	// maxMessage bounds one message of a picker, in bytes. Above the largest body
	// sent, so that a picker that does not split bodies is told so.
	maxMessage = 32 << 20
)

// Options say what to judge. Only Target is required.
type Options struct {
	// Target is the picker's ext_proc address, as grpc.NewClient takes it.
	Target string
	// TLS is how to connect to it; nil is plaintext.
	TLS *tls.Config
	// HealthTarget is the address of gRPC health, spoken to in plaintext; empty
	// asks Target.
	HealthTarget string
	// Model is the model that requests name.
	Model string
	// Endpoints are the ready endpoints ("ip:port") that the picker has. When
	// empty they are learnt from its picks.
	Endpoints []string
	// Timeout bounds the wait for an answer, and each case.
	Timeout time.Duration
	// Streams is how many streams are open at once where concurrency is judged.
	Streams int
	// Run selects the cases whose ID it matches; nil selects all.
	Run *regexp.Regexp
}

// complete fills in the defaults and checks what was given.
func (o *Options) complete() ([]netip.AddrPort, error) {
	if o.Target == "" {
		return nil, errors.New("target: is empty, want the picker's ext_proc address as host:port")
	}
	if o.Model == "" {
		o.Model = DefaultModel
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Streams == 0 {
		o.Streams = DefaultStreams
	}
	if o.Timeout < 0 || o.Streams < 0 {
		return nil, errors.New("timeout and streams: must not be negative")
	}
	var endpoints []netip.AddrPort
	for i, e := range o.Endpoints {
		a, err := netip.ParseAddrPort(e)
		if err != nil {
			return nil, fmt.Errorf("endpoints[%d]: %q is no ip:port", i, e)
		}
		endpoints = append(endpoints, a)
	}
	return endpoints, nil
}

// dial opens a connection without waiting for it.
func dial(target string, config *tls.Config) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if config != nil {
		creds = credentials.NewTLS(config)
	}
	return grpc.NewClient(target,
		grpc.WithTransportCredentials(creds),
		// A window that holds a body, so that a picker that reads it before it
		// answers is not slowed down by ours.
		grpc.WithInitialConnWindowSize(16<<20),
		grpc.WithInitialWindowSize(1<<20),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
}

// connect waits until conn is usable.
func connect(ctx context.Context, conn *grpc.ClientConn, o *Options) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	conn.Connect()
	for {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure:
			return unreachable(o)
		}
		if !conn.WaitForStateChange(ctx, state) {
			return unreachable(o)
		}
	}
}

func unreachable(o *Options) error {
	spoken, other := "TLS", "without TLS (--plaintext)"
	if o.TLS == nil {
		spoken, other = "plaintext", "with TLS"
	}
	return fmt.Errorf("target %s: no gRPC server answers in %s; is it running, and does it perhaps listen %s?", o.Target, spoken, other)
}
