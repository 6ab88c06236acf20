package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/fairway-ai/fairway/gateway/standalone"
	"github.com/fairway-ai/fairway/gateway/xds"
)

// GatewayOptions configure [Gateway].
type GatewayOptions struct {
	// Self is the fairway binary, whose command "epp" is started.
	Self string
	// Envoy is the path of the Envoy binary.
	Envoy string
	// Endpoints is the number of model servers.
	Endpoints int
	// Concurrency is the number of requests under way at a time when throughput is
	// measured; latency is measured with one.
	Concurrency int
	// Duration is how long each of the two is measured for each case and side, or
	// Requests, when above 0, how many requests for. Both are spread over Rounds.
	Duration time.Duration
	Requests int
	Rounds   int
	// Log gets Envoy's log.
	Log *slog.Logger
	// Progress is told what is being measured; nil for nobody.
	Progress func(string)
}

// GatewaySide is Envoy with or without the picker. CPU times include the kernel's
// and are missing where they are not known.
type GatewaySide struct {
	// Rate is requests per second with Concurrency requests under way. P50Busy and
	// P99Busy are latencies in milliseconds then.
	Rate    Spread  `json:"requests_per_second"`
	P50Busy float64 `json:"busy_p50_ms"`
	P99Busy float64 `json:"busy_p99_ms"`
	// P50 and P99 are latencies in milliseconds, one request at a time.
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	// EnvoyCPU and PickerCPU are milliseconds per request, when busy.
	EnvoyCPU  *float64 `json:"envoy_cpu_ms,omitempty"`
	PickerCPU *float64 `json:"picker_cpu_ms,omitempty"`
}

// GatewayRow is one case, measured on both sides. Latencies are until the whole
// answer, or the first event of a stream.
type GatewayRow struct {
	Case      string      `json:"case"`
	BodyBytes int         `json:"body_bytes"`
	Stream    bool        `json:"stream"`
	Envoy     GatewaySide `json:"envoy"`
	Picker    GatewaySide `json:"envoy_and_picker"`
	// Ratio is the picker side's rate by that of Envoy alone, round by round.
	Ratio Spread `json:"rate_ratio"`
	// AddedP50 and AddedP99 are milliseconds, one request at a time.
	AddedP50 float64 `json:"added_p50_ms"`
	AddedP99 float64 `json:"added_p99_ms"`
}

// side is a running Envoy.
type side struct {
	gateway *standalone.Gateway
	addr    string
	picker  *child // nil without
}

// Gateway measures requests through real Envoy, to servers that answer at once,
// with the picker and with the same Envoy configuration without it, in turns. The
// load and the servers are in this process.
func Gateway(ctx context.Context, o GatewayOptions) (_ []GatewayRow, err error) {
	b, err := newBackend()
	if err != nil {
		return nil, err
	}
	servers, stop, err := serveHTTP(o.Endpoints, func(int) http.Handler { return b })
	if err != nil {
		return nil, err
	}
	defer stop()
	dir, err := os.MkdirTemp("", "fairway-bench-")
	if err != nil {
		return nil, fmt.Errorf("a folder for sockets: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	picker, socket, err := startPicker(ctx, o.Self, dir, "picker", servers)
	if err != nil {
		return nil, err
	}
	defer picker.stop()
	var sides [2]side
	for i := range sides {
		x := xds.Options{Address: netip.MustParseAddrPort("127.0.0.1:0"), NoPicker: true}
		if i == 1 {
			x.NoPicker, x.PickerSocket = false, socket
			sides[i].picker = picker
		}
		g, err := standalone.Start(ctx, standalone.Options{XDS: x, Envoy: o.Envoy, DrainTimeout: time.Second, Log: o.Log},
			[]xds.Pool{{Name: "bench/servers", Endpoints: servers, FailOpen: true}})
		if err != nil {
			return nil, err
		}
		defer g.Kill()
		addr, err := g.Ready(ctx)
		if err != nil {
			return nil, err
		}
		sides[i].gateway, sides[i].addr = g, addr.String()
	}
	var rows []GatewayRow
	for _, size := range bodySizes {
		for _, stream := range []bool{false, true} {
			row, err := o.measure(ctx, sides, size, stream)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", row.Case, err)
			}
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// sideSum collects a side's rounds.
type sideSum struct {
	rates         []float64
	busy, quiet   []time.Duration
	requests      int
	envoy, picker time.Duration
	unknown       bool // CPU times are not known
}

func (o *GatewayOptions) measure(ctx context.Context, sides [2]side, size int, stream bool) (GatewayRow, error) {
	row := GatewayRow{Case: sizeName(size), BodyBytes: size, Stream: stream}
	if stream {
		row.Case += ", streamed"
	}
	var nonce atomic.Uint64
	load := newHTTPLoad(conversations(rand.New(rand.NewPCG(2, uint64(size))), min(256, maxBodies/size), size, stream), stream, &nonce)
	var sums [2]sideSum
	var ratios []float64
	count := 0
	if o.Requests > 0 {
		count = max(1, o.Requests/o.Rounds)
	}
	slice := o.Duration / time.Duration(o.Rounds)
	for _, s := range sides { // connect everything
		if _, err := load.run(ctx, s.addr, o.Concurrency, count, slice/2); err != nil {
			return row, err
		}
	}
	for round := range o.Rounds {
		if o.Progress != nil {
			o.Progress(fmt.Sprintf("%s: round %d of %d", row.Case, round+1, o.Rounds))
		}
		for k := range sides {
			i := (k + round) % len(sides) // nobody is always second
			if err := sums[i].add(ctx, load, &sides[i], o.Concurrency, count, slice); err != nil {
				return row, err
			}
		}
		ratios = append(ratios, sums[1].rates[round]/sums[0].rates[round])
	}
	row.Envoy, row.Picker, row.Ratio = sums[0].side(), sums[1].side(), spread(ratios)
	row.Envoy.PickerCPU = nil
	row.AddedP50, row.AddedP99 = row.Picker.P50-row.Envoy.P50, row.Picker.P99-row.Envoy.P99
	return row, nil
}

// add measures one round: busy, then one request at a time.
func (m *sideSum) add(ctx context.Context, load *httpLoad, s *side, workers, count int, slice time.Duration) error {
	envoy, picker := m.cpu(s)
	r, err := load.run(ctx, s.addr, workers, count, slice)
	if err != nil {
		return err
	}
	envoyAfter, pickerAfter := m.cpu(s)
	m.envoy += envoyAfter - envoy
	m.picker += pickerAfter - picker
	m.requests += r.requests
	m.busy = append(m.busy, r.latencies...)
	m.rates = append(m.rates, float64(r.requests)/r.elapsed.Seconds())
	if r, err = load.run(ctx, s.addr, 1, count, slice); err != nil {
		return err
	}
	m.quiet = append(m.quiet, r.latencies...)
	return nil
}

// cpu is the CPU time used so far.
func (m *sideSum) cpu(s *side) (envoy, picker time.Duration) {
	var err error
	if envoy, err = cpuTime(s.gateway.EnvoyPID()); err == nil && s.picker != nil {
		picker, err = cpuTime(s.picker.pid())
	}
	m.unknown = m.unknown || err != nil
	return envoy, picker
}

func (m *sideSum) side() GatewaySide {
	slices.Sort(m.busy)
	slices.Sort(m.quiet)
	s := GatewaySide{
		Rate: spread(m.rates), P50Busy: milliseconds(quantile(m.busy, 0.5)), P99Busy: milliseconds(quantile(m.busy, 0.99)),
		P50: milliseconds(quantile(m.quiet, 0.5)), P99: milliseconds(quantile(m.quiet, 0.99)),
	}
	if !m.unknown && m.requests > 0 {
		envoy, picker := milliseconds(m.envoy)/float64(m.requests), milliseconds(m.picker)/float64(m.requests)
		s.EnvoyCPU, s.PickerCPU = &envoy, &picker
	}
	return s
}

// WriteGateway prints the tables.
func WriteGateway(out io.Writer, rows []GatewayRow, concurrency int) error {
	return errors.Join(writeBusy(out, rows, concurrency), writeQuiet(out, rows))
}
