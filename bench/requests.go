package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/fairway-ai/fairway/bench/echo"
)

// RequestsOptions configure [Requests].
type RequestsOptions struct {
	// Self is the fairway binary: its commands "epp" and "bench echo" are started.
	Self string
	// Endpoints are the sizes of the pools to pick from.
	Endpoints []int
	// Concurrency is the number of requests under way at a time.
	Concurrency int
	// Rounds is how often each server is measured, each time for Slice.
	Rounds int
	Slice  time.Duration
	// Progress is told what is being measured; nil for nobody.
	Progress func(string)
}

// RequestsRow is what a request costs one server. CPU times include the kernel's
// and are missing where they are not known.
type RequestsRow struct {
	Case      string `json:"case"`
	BodyBytes int    `json:"body_bytes"`
	BodyMode  string `json:"body_mode"`
	Server    string `json:"server"`
	// CPU is server CPU time in milliseconds per request; the spread is over the
	// rounds.
	CPU *Spread `json:"cpu_ms,omitempty"`
	// Ratio compares CPU with the first row of the case.
	Ratio float64 `json:"ratio,omitempty"`
	// Rate is requests per second; client and server share the machine.
	Rate Spread `json:"requests_per_second"`
}

// bodySizes are the sizes of request bodies in all benchmarks: a short question,
// and a long document or agent session.
var bodySizes = []int{1 << 10, 220 << 10}

// maxBodies bounds the request bodies kept for one size, in bytes.
const maxBodies = 16 << 20

// target is a server under measurement.
type target struct {
	name  string
	early bool // answers headers at once in full duplex
	echo  bool // decodes nothing, or not like a picker
	proc  *child
	conn  *grpc.ClientConn
}

// Requests measures the CPU time of a request in the picker's process and in
// servers that only answer (package echo), over gRPC on unix sockets: all sizes
// and body modes, in turns.
func Requests(ctx context.Context, o RequestsOptions) (_ []RequestsRow, err error) {
	dir, err := os.MkdirTemp("", "fairway-bench-")
	if err != nil {
		return nil, fmt.Errorf("a folder for sockets: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var rows []RequestsRow
	for _, duplex := range []bool{false, true} {
		targets, stop, err := startTargets(ctx, &o, dir, duplex)
		defer stop()
		if err != nil {
			return nil, err
		}
		for _, size := range bodySizes {
			more, err := measureRequests(ctx, &o, targets, size, duplex)
			if err != nil {
				return nil, err
			}
			rows = append(rows, more...)
		}
		stop()
	}
	return rows, nil
}

// startTargets starts the servers. stop may be called twice.
func startTargets(ctx context.Context, o *RequestsOptions, dir string, duplex bool) (all []*target, stop func(), err error) {
	stop = func() {
		for _, t := range all {
			if t.conn != nil {
				_ = t.conn.Close() // nothing is under way
			}
			t.proc.stop()
		}
		all = nil
	}
	add := func(t *target, socket string) (err error) {
		all = append(all, t)
		t.conn, err = dialExtproc(socket)
		return err
	}
	mode := "buffered"
	if duplex {
		mode = "duplex"
	}
	for _, kind := range EchoKinds() {
		socket := filepath.Join(dir, kind+"-"+mode+".sock")
		args := []string{"bench", "echo", "--kind", kind, "--socket", socket}
		if duplex {
			args = append(args, "--duplex")
		}
		proc, err := startChild(ctx, socket, o.Self, args...)
		if err != nil {
			return all, stop, err
		}
		if err := add(&target{name: "echo, " + kind, early: true, echo: true, proc: proc}, socket); err != nil {
			return all, stop, fmt.Errorf("connect: %w", err)
		}
	}
	for _, n := range o.Endpoints {
		proc, socket, err := startPicker(ctx, o.Self, dir, fmt.Sprintf("picker-%d-%s", n, mode), unreachable(n), "--config-text", unscraped)
		if err != nil {
			return all, stop, err
		}
		if err := add(&target{name: fmt.Sprintf("fairway, %d endpoints", n), proc: proc}, socket); err != nil {
			return all, stop, fmt.Errorf("connect: %w", err)
		}
	}
	return all, stop, nil
}

// dialExtproc connects a client that costs little.
func dialExtproc(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(16<<20),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(echo.Codec{}), grpc.WaitForReady(true),
			grpc.MaxCallSendMsgSize(64<<20), grpc.MaxCallRecvMsgSize(64<<20)))
}

// measureRequests measures all servers at one size and body mode.
func measureRequests(ctx context.Context, o *RequestsOptions, targets []*target, size int, duplex bool) ([]RequestsRow, error) {
	mode := "BUFFERED"
	if duplex {
		mode = "FULL_DUPLEX_STREAMED"
	}
	name := sizeName(size) + " " + mode
	bodies := conversations(rand.New(rand.NewPCG(1, uint64(size))), max(o.Concurrency, min(256, maxBodies/size)), size, false)
	rows := make([]RequestsRow, len(targets))
	loads := make([]*extprocLoad, len(targets))
	rates, cpus := make([][]float64, len(targets)), make([][]float64, len(targets))
	var nonce atomic.Uint64
	for i, t := range targets {
		rows[i] = RequestsRow{Case: name, BodyBytes: size, BodyMode: mode, Server: t.name}
		var err error
		if loads[i], err = newExtprocLoad(ctx, t, bodies, duplex, o.Concurrency, &nonce); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, t.name, err)
		}
		// Connect, fill the pools and the prefix index.
		if _, err := loads[i].run(ctx, o.Slice/2); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, t.name, err)
		}
	}
	for round := range o.Rounds {
		if o.Progress != nil {
			o.Progress(fmt.Sprintf("%s: round %d of %d", name, round+1, o.Rounds))
		}
		for k := range targets {
			i := (k + round) % len(targets)
			before, known := cpuTime(targets[i].proc.pid())
			start := time.Now()
			n, err := loads[i].run(ctx, o.Slice)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", name, targets[i].name, err)
			}
			rates[i] = append(rates[i], float64(n)/time.Since(start).Seconds())
			if after, err := cpuTime(targets[i].proc.pid()); err == nil && known == nil {
				cpus[i] = append(cpus[i], milliseconds(after-before)/float64(max(1, n)))
			}
		}
	}
	for i := range rows {
		rows[i].Rate = spread(rates[i])
		if len(cpus[i]) > 0 {
			s := spread(cpus[i])
			rows[i].CPU = &s
			if first := rows[0].CPU.Median; first > 0 {
				rows[i].Ratio = s.Median / first
			}
		}
	}
	return rows, nil
}

// extprocLoad sends requests to one server.
type extprocLoad struct {
	conn    *grpc.ClientConn
	workers [][]*exchange
	nonce   *atomic.Uint64
}

func newExtprocLoad(ctx context.Context, t *target, bodies []body, duplex bool, workers int, nonce *atomic.Uint64) (*extprocLoad, error) {
	l := &extprocLoad{conn: t.conn, workers: make([][]*exchange, workers), nonce: nonce}
	for i, b := range bodies {
		x, err := newExchange(b, duplex, t.early)
		if err != nil {
			return nil, err
		}
		if x == nil {
			continue
		}
		switch {
		case !t.echo:
			n, err := x.probe(ctx, t.conn, duplex)
			if err != nil {
				return nil, err
			}
			x.setBodyAnswers(n)
		case duplex:
			x.setBodyAnswers(x.last) // as many as there are body messages
		}
		l.workers[i%workers] = append(l.workers[i%workers], x)
	}
	for _, xs := range l.workers {
		if len(xs) == 0 {
			return nil, fmt.Errorf("%d workers are too many", workers)
		}
	}
	return l, nil
}

// run sends requests for d and returns how many there were.
func (l *extprocLoad) run(ctx context.Context, d time.Duration) (int, error) {
	var count atomic.Int64
	end := time.Now().Add(d)
	group, ctx := errgroup.WithContext(ctx)
	for _, xs := range l.workers {
		group.Go(func() error {
			for i := 0; time.Now().Before(end); i++ {
				if err := xs[i%len(xs)].run(ctx, l.conn, l.nonce.Add(1)); err != nil {
					return err
				}
				count.Add(1)
			}
			return nil
		})
	}
	err := group.Wait()
	return int(count.Load()), err
}

// WriteRequests prints a table.
func WriteRequests(out io.Writer, rows []RequestsRow) error {
	w := newTable(out)
	for i, r := range rows {
		if i == 0 || rows[i-1].Case != r.Case {
			fmt.Fprintf(w, "%s\tCPU/request\tlow-high\tratio\trequests/s\t\n", r.Case)
		}
		if r.CPU == nil {
			fmt.Fprintf(w, "%s\t-\t-\t-\t%.0f\t\n", r.Server, r.Rate.Median)
			continue
		}
		fmt.Fprintf(w, "%s\t%.3f ms\t%.3f-%.3f\t%.2fx\t%.0f\t\n", r.Server, r.CPU.Median, r.CPU.Low, r.CPU.High, r.Ratio, r.Rate.Median)
	}
	return w.Flush()
}
