package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// EgressOptions configure [Egress].
type EgressOptions struct {
	// Self is the fairway binary, whose command "run" is started, and Envoy the path
	// of the Envoy binary.
	Self, Envoy string
	// Duration is how long each case is measured on each side, or Requests, when above
	// 0, how many requests. Both are spread over Rounds.
	Duration time.Duration
	Requests int
	Rounds   int
	// Streams is how many are held open at a time to measure their memory; 0 for none.
	Streams int
	// Progress is told what is being measured; nil for nobody.
	Progress func(string)
}

// EgressSide is how long requests take, one at a time, in milliseconds: until the first
// event of a stream, and until the whole answer.
type EgressSide struct {
	FirstP50 float64 `json:"first_p50_ms,omitempty"`
	FirstP99 float64 `json:"first_p99_ms,omitempty"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
}

// EgressRow is one case: requests in OpenAI's API to a provider, straight and through
// Envoy and Fairway.
type EgressRow struct {
	Provider  string     `json:"provider"`
	BodyBytes int        `json:"body_bytes"`
	Events    int        `json:"events"` // 0 when not streamed
	Direct    EgressSide `json:"direct"`
	Through   EgressSide `json:"through"`
	// FairwayCPU and EnvoyCPU are milliseconds per request, kernel included; missing
	// where they are not known.
	FairwayCPU *float64 `json:"fairway_cpu_ms,omitempty"`
	EnvoyCPU   *float64 `json:"envoy_cpu_ms,omitempty"`
}

// EgressResult is what [Egress] measured.
type EgressResult struct {
	Rows        []EgressRow      `json:"requests"`
	Translation []TranslationRow `json:"translation"`
	Streams     *StreamsRow      `json:"streams,omitempty"`
}

// egressEvents is the number of pieces of text of a streamed answer.
const egressEvents = 200

// Egress measures requests to providers that answer at once, straight and through real
// Envoy and Fairway, in turns: as they are to one of OpenAI's API, translated to others.
// The load and the providers are in this process.
func Egress(ctx context.Context, o EgressOptions) (_ EgressResult, err error) {
	var result EgressResult
	if result.Translation, err = translations(); err != nil {
		return result, err
	}
	dir, err := os.MkdirTemp("", "fairway-bench-")
	if err != nil {
		return result, fmt.Errorf("a folder for a file: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	held := make(chan struct{})
	addrs, stop, err := serveHTTP(len(egressSchemas), providerHandlers(held))
	if err != nil {
		return result, err
	}
	defer stop()
	defer close(held)
	g, err := startGateway(ctx, &o, dir, addrs)
	if err != nil {
		return result, err
	}
	defer g.stop()
	for i, schema := range egressSchemas {
		for _, c := range []struct {
			size   int
			stream bool
		}{{bodySizes[0], false}, {bodySizes[1], false}, {bodySizes[0], true}} {
			row, err := o.measure(ctx, g, schema, addrs[0], i, c.size, c.stream)
			if err != nil {
				return result, fmt.Errorf("%s, %s: %w", schema, sizeName(c.size), err)
			}
			result.Rows = append(result.Rows, row)
		}
	}
	if o.Streams > 0 {
		o.progress(fmt.Sprintf("%d streams", o.Streams))
		if result.Streams, err = g.hold(ctx, o.Streams); err != nil {
			return result, err
		}
	}
	return result, nil
}

func (o *EgressOptions) progress(text string) {
	if o.Progress != nil {
		o.Progress(text)
	}
}

// runningGateway is fairway run, with Envoy as its child.
type runningGateway struct {
	*child
	addr  string
	envoy int // process ID
}

// startGateway starts fairway run with a rule for each provider.
func startGateway(ctx context.Context, o *EgressOptions, dir string, addrs []string) (*runningGateway, error) {
	text := "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\nstringData:\n  apiKey: sk-bench\n" +
		"  credentials: |\n    [default]\n    aws_access_key_id = AKIDBENCH\n    aws_secret_access_key = bench\n"
	for i, schema := range egressSchemas {
		credentials := "{type: APIKey, apiKey: {secretRef: {name: keys}}}"
		if schema == "AWSBedrock" {
			credentials = "{type: AWS, aws: {region: us-east-1, secretRef: {name: keys}}}"
		}
		host, port, _ := net.SplitHostPort(addrs[i]) // a listener's
		name := strings.ToLower(schema)
		text += fmt.Sprintf("---\napiVersion: fairway.dev/v1alpha1\nkind: AIBackend\nmetadata: {name: %s}\nspec:\n  schema: {name: %s}\n"+
			"  destination: {type: Hostname, hostname: {host: %s, port: %s}}\n  tls: {mode: None}\n  credentials: %s\n", name, schema, host, port, credentials)
		text += fmt.Sprintf("---\napiVersion: fairway.dev/v1alpha1\nkind: AIRoute\nmetadata: {name: %s}\nspec:\n  rules:\n"+
			"  - matches: [{model: {value: %s}}]\n    backendRefs: [{name: %s}]\n", name, name, name)
	}
	file := filepath.Join(dir, "fairway.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("the gateway's file: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("a free port: %w", err)
	}
	g := &runningGateway{addr: l.Addr().String()}
	if err := l.Close(); err != nil {
		return nil, fmt.Errorf("a free port: %w", err)
	}
	g.child, err = startListening(ctx, "tcp", g.addr, o.Self, "run", "-f", file, "--listen", g.addr, "--admin", "", "--envoy", o.Envoy, "--log-level", "warn")
	if err != nil {
		return nil, err
	}
	if g.envoy, err = onlyChild(g.pid()); err != nil {
		g.stop()
		return nil, err
	}
	return g, nil
}

// measure measures one case on both sides, in turns.
func (o *EgressOptions) measure(ctx context.Context, g *runningGateway, schema, direct string, seed, size int, stream bool) (EgressRow, error) {
	row := EgressRow{Provider: schema, BodyBytes: size}
	if stream {
		row.Events = egressEvents
	}
	var nonce atomic.Uint64
	bodies := conversations(rand.New(rand.NewPCG(3, uint64(size+seed))), min(64, maxBodies/size), size, stream)
	load := newHTTPLoad(withModel(bodies, strings.ToLower(schema)), stream, &nonce)
	var sums [2]egressSum
	var fairway, envoy time.Duration
	known := true
	slice, count := o.Duration/time.Duration(o.Rounds), 0
	if o.Requests > 0 {
		slice, count = time.Hour, max(1, o.Requests/o.Rounds)
	}
	for i, addr := range []string{direct, g.addr} { // connect everything
		if err := new(egressSum).add(ctx, load, addr, time.Hour, 1+i); err != nil {
			return row, err
		}
	}
	for round := range o.Rounds {
		o.progress(fmt.Sprintf("%s, %s, %d events: round %d of %d", schema, sizeName(size), row.Events, round+1, o.Rounds))
		for k := range sums {
			if (k+round)%2 == 0 { // nobody is always second
				if err := sums[0].add(ctx, load, direct, slice, count); err != nil {
					return row, err
				}
				continue
			}
			before, before2, err := g.cpu()
			known = known && err == nil
			if err := sums[1].add(ctx, load, g.addr, slice, count); err != nil {
				return row, err
			}
			after, after2, err := g.cpu()
			known = known && err == nil
			fairway, envoy = fairway+after-before, envoy+after2-before2
		}
	}
	row.Direct, row.Through = sums[0].side(stream), sums[1].side(stream)
	if n := float64(len(sums[1].total)); known && n > 0 {
		a, b := milliseconds(fairway)/n, milliseconds(envoy)/n
		row.FairwayCPU, row.EnvoyCPU = &a, &b
	}
	return row, nil
}

// cpu is the CPU time used so far.
func (g *runningGateway) cpu() (fairway, envoy time.Duration, err error) {
	if fairway, err = cpuTime(g.pid()); err == nil {
		envoy, err = cpuTime(g.envoy)
	}
	return fairway, envoy, err
}

// egressSum collects a side's rounds.
type egressSum struct{ first, total []time.Duration }

// add sends requests one at a time, for a time or, when count is above 0, that many.
func (m *egressSum) add(ctx context.Context, load *httpLoad, addr string, d time.Duration, count int) error {
	w, err := load.dial(ctx, addr)
	if err != nil {
		return err
	}
	defer w.close()
	for start, n := time.Now(), 0; time.Since(start) < d && (count == 0 || n < count); n++ {
		first, total, err := w.timed()
		if err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		m.first, m.total = append(m.first, first), append(m.total, total)
	}
	return nil
}

func (m *egressSum) side(stream bool) EgressSide {
	slices.Sort(m.first)
	slices.Sort(m.total)
	s := EgressSide{P50: milliseconds(quantile(m.total, 0.5)), P99: milliseconds(quantile(m.total, 0.99))}
	if stream {
		s.FirstP50, s.FirstP99 = milliseconds(quantile(m.first, 0.5)), milliseconds(quantile(m.first, 0.99))
	}
	return s
}
