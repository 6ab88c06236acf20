package fire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/epp/explain"
	"github.com/fairway-ai/fairway/gateway/standalone"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// bodyLimit is the longest request body of every rig, in bytes.
const bodyLimit = 4 << 20

// rig is Envoy in front of model servers, and the picker's process.
type rig struct {
	t       *testing.T
	gateway *standalone.Gateway
	url     string
	dir     string // holds the picker's socket and its file of endpoints
	admin   string // the picker's URL for metrics
	out     *output
	args    []string  // of the picker, beside those that each needs
	picker  *exec.Cmd // nil when none runs
}

// drainTimeout is the picker's; for a sixth of it, it goes on serving.
const drainTimeout = 12 * time.Second

// poolName is what a file that only lists endpoints is called.
const poolName = "default/default"

// newRig starts a picker and Envoy for a pool with the servers' addresses.
func newRig(t *testing.T, p xds.Pool, servers ...string) *rig {
	t.Helper()
	return newRigWith(t, p, nil, servers...)
}

// newRigWith is newRig with further arguments of the picker.
func newRigWith(t *testing.T, p xds.Pool, args []string, servers ...string) *rig {
	t.Helper()
	envoy := realenvoy.Path(t)
	r := &rig{t: t, dir: shortDir(t), admin: "127.0.0.1:" + freePort(t), out: newOutput(t, "the picker"), args: args}
	list := "endpoints:\n"
	for i, addr := range servers {
		list += endpointLine(i, addr)
	}
	writeFile(t, r.file(), list)
	r.start()
	t.Cleanup(r.kill)
	p.Name, p.Endpoints = poolName, servers
	logs := newOutput(t, "the gateway")
	var err error
	r.gateway, err = standalone.Start(t.Context(), standalone.Options{
		XDS: xds.Options{
			Address: netip.MustParseAddrPort("127.0.0.1:0"), PickerSocket: r.socket(), MaxBodyBytes: bodyLimit,
			MessageTimeout: patience, // a busy machine's picker is slow, and is to be waited for
		},
		Envoy: envoy, Concurrency: 1, DrainTimeout: patience, Stdout: io.Discard,
		Log: slog.New(slog.NewTextHandler(logs, nil)),
	}, []xds.Pool{p})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.gateway.Kill)
	addr, err := r.gateway.Ready(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.url = "http://" + addr.String()
	return r
}

func endpointLine(i int, addr string) string {
	host, port, _ := net.SplitHostPort(addr) // a listener's
	return fmt.Sprintf("- {name: e%d, address: %s, port: %q}\n", i, host, port)
}

func (r *rig) file() string   { return filepath.Join(r.dir, "endpoints.yaml") }
func (r *rig) socket() string { return filepath.Join(r.dir, "picker.sock") }

// start starts the picker and waits until it is ready.
func (r *rig) start() {
	r.t.Helper()
	args := append([]string{"epp", "-f", r.file(), "--grpc-uds", r.socket(), "--secure-serving=false",
		"--grpc-port", "0", "--grpc-health-port", "0", "--metrics-port", r.admin[strings.IndexByte(r.admin, ':')+1:],
		"--max-body-bytes", fmt.Sprint(bodyLimit), "--drain-timeout", drainTimeout.String()}, r.args...)
	cmd := exec.Command(fairwayPath, args...)
	cmd.Stdout, cmd.Stderr = r.out, r.out
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.picker = cmd
	eventually(r.t, "the picker is ready", func() error {
		_, err := get("http://" + r.admin + "/readyz")
		return err
	})
}

// kill ends the picker as kill -9 does.
func (r *rig) kill() {
	if r.picker == nil {
		return
	}
	_ = r.picker.Process.Kill() // fails only when it has ended
	_ = r.picker.Wait()         // it was killed
	r.picker = nil
}

// terminate asks the picker to end. The returned function waits until it has.
func (r *rig) terminate() (ended func() error) {
	r.t.Helper()
	cmd := r.picker
	r.picker = nil
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	r.t.Cleanup(func() { _ = cmd.Process.Kill() }) // fails when it has ended
	return func() error { return soon(r.t, "the picker ends", done) }
}

// memoryPeak is the most memory the picker has held, in MiB.
func (r *rig) memoryPeak() int {
	r.t.Helper()
	return memory(r.t, r.picker.Process.Pid, "VmHWM")
}

// get fetches a page; a status other than 200 is an error.
func get(url string) ([]byte, error) {
	resp, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return page, err
}

// metric is the sum of a picker's metric over its series with the given label
// values, such as `endpoint_name="e0"`.
func (r *rig) metric(name string, labels ...string) float64 {
	r.t.Helper()
	v, err := metricOf("http://"+r.admin, name, labels...)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

// metricOf is an error when there is no such metric.
func metricOf(admin, name string, labels ...string) (sum float64, err error) {
	page, err := get(admin + "/metrics")
	if err != nil {
		return 0, err
	}
	found := false
lines:
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, name+"{") && !strings.HasPrefix(line, name+" ") {
			continue
		}
		found = true
		for _, l := range labels {
			if !strings.Contains(line, l) {
				continue lines
			}
		}
		var v float64
		if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &v); err != nil {
			return 0, fmt.Errorf("%w: %s", err, line)
		}
		sum += v
	}
	if !found {
		return 0, fmt.Errorf("there is no metric %s", name)
	}
	return sum, nil
}

// counts are what must be 0 when no request is under way.
var counts = []string{
	"llm_d_epp_inflight_requests", "llm_d_epp_inflight_tokens", "llm_d_epp_request_running",
	"llm_d_epp_extproc_streams_inflight", "llm_d_epp_flow_control_queue_size",
}

// idle waits until nothing is under way in the picker's books.
func (r *rig) idle() {
	r.t.Helper()
	idleAt(r.t, "http://"+r.admin)
}

func idleAt(t *testing.T, admin string) {
	t.Helper()
	eventually(t, "nothing is under way", func() error {
		for _, name := range counts {
			// No request, no series: a picker that was started again may have none.
			if v, err := metricOf(admin, name); err == nil && v != 0 {
				return fmt.Errorf("%s is %v", name, v)
			}
		}
		_, err := metricOf(admin, "llm_d_epp_extproc_streams_inflight")
		return err
	})
}

// streams waits until n requests are in the picker's hands.
func (r *rig) streams(n int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d requests are under way", n), func() error {
		if v := r.metric("llm_d_epp_extproc_streams_inflight"); v != float64(n) {
			return fmt.Errorf("%v are", v)
		}
		return nil
	})
}

// picks waits until the picker has chosen n times since it was started.
func (r *rig) picks(n int) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d picks", n), func() error {
		v, err := metricOf("http://"+r.admin, "llm_d_epp_scheduler_attempts_total", `status="success"`)
		if err == nil && v < float64(n) {
			err = fmt.Errorf("%v picks", v)
		}
		return err
	})
}

// decisions are the picker's latest ones.
func (r *rig) decisions(n int) (all []explain.Decision) {
	r.t.Helper()
	page, err := get(fmt.Sprintf("http://%s%s?n=%d", r.admin, explain.Path, n))
	if err == nil {
		err = json.Unmarshal(page, &all)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// picked is the address of a decision's first choice.
func picked(d *explain.Decision) string {
	for _, row := range d.Rows {
		if row.Rank == 1 {
			return row.Address
		}
	}
	return ""
}

// running is nil when a process is there, zombies excepted: those have ended and
// wait for somebody to ask how.
func running(pid int) error {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	if strings.Contains(string(stat), ") Z ") {
		return errors.New("a zombie")
	}
	return nil
}
