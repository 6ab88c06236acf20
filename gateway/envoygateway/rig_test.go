package envoygateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/egress"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

const (
	patience   = 30 * time.Second
	serverName = "fairway.test"
)

// model is a model server that records what it gets.
type model struct {
	addr string

	mu   sync.Mutex
	last http.Header
	n    int
}

func newModel(t *testing.T) *model {
	m := new(model)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.last, m.n = r.Header.Clone(), m.n+1
		m.mu.Unlock()
		w.Header().Set("x-served-by", m.addr)
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	m.addr = s.Listener.Addr().String()
	return m
}

// full is the pick of a pool that takes nothing.
const full = "full"

// picker picks each pool's first endpoint and remembers how often.
type picker struct {
	mu     sync.Mutex
	picks  map[string]string
	picked map[string]int
	fooled string // a routing header that came through
}

func (p *picker) Pick(_ context.Context, r *extproc.Request) (extproc.Pick, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.picked[r.Pool]++
	for _, h := range []string{xds.DestinationHeader, xds.SubsetHeader, xds.PoolHeader} {
		if v := r.Header(h); v != "" {
			p.fooled = h + ": " + v
		}
	}
	if p.picks[r.Pool] == full {
		return extproc.Pick{}, &extproc.Rejection{Status: 429, Code: "saturated", Message: "full"}
	}
	return extproc.Pick{Destinations: p.picks[r.Pool]}, nil
}

func (p *picker) count(pool string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.picked[pool]
}

// rig is a real Envoy that is configured as Envoy Gateway would, after our hook.
type rig struct {
	t         *testing.T
	ca        []byte
	serving   *tls.Config
	ads       cache.SnapshotCache
	eds       cache.SnapshotCache
	endpoints map[string][]string // by EDS name
	picker    *picker
	router    *egress.Router // before the picker
	rules     *airoute.Config
	backends  *egress.Backends
	place     func(*airoute.Backend) // where providers are; nil for where they say
	// edit changes what Envoy Gateway sent and what objects come to; nil does not.
	edit  func(*envoy, *airoute.Config)
	stop  func() // the picker
	ports map[string]int
}

// newRig translates the recorded features through a real gRPC server, and gives all
// of them to one Envoy.
func newRig(t *testing.T, endpoints map[string][]string, features ...string) *rig {
	return newPlacedRig(t, nil, endpoints, features...)
}

// newPlacedRig is newRig with providers elsewhere.
func newPlacedRig(t *testing.T, place func(*airoute.Backend), endpoints map[string][]string, features ...string) *rig {
	return newEditedRig(t, nil, place, endpoints, features...)
}

// newEditedRig is newPlacedRig with other objects and another input than was recorded.
func newEditedRig(t *testing.T, edit func(*envoy, *airoute.Config), place func(*airoute.Backend), endpoints map[string][]string, features ...string) *rig {
	path := realenvoy.Path(t)
	r := &rig{t: t, place: place, edit: edit, endpoints: endpoints, ports: map[string]int{}, picker: &picker{picks: map[string]string{}, picked: map[string]int{}}}
	r.router, r.backends = &egress.Router{Next: r.picker}, egress.NewBackends(egress.BackendsOptions{})
	r.certify()
	pickerAddr := r.servePicker()
	r.endpoints[xds.PickerClusterName] = []string{pickerAddr}
	edsAddr := r.serveEDS()

	var all envoy
	for _, f := range features {
		all = r.merge(all, r.translate(f, edsAddr))
	}
	dir, err := os.MkdirTemp("", "fairway") // a short path, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r.serveADS(filepath.Join(dir, "xds.sock"), all)
	config, err := protojson.Marshal(xds.Bootstrap(filepath.Join(dir, "xds.sock"), filepath.Join(dir, "admin.sock")))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "bootstrap.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(path, "--config-path", file, "--use-dynamic-base-id", "--concurrency", "2", "-l", "warning")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Envoy:\n%s", log.Bytes())
		}
	})
	return r
}

// translate sends a recorded input to our server as Envoy Gateway does.
func (r *rig) translate(name, eds string) envoy {
	t := r.t
	dir := filepath.Join("testdata", name)
	o := options(t, objects(t, filepath.Join(dir, "objects.yaml")))
	o.EDS, o.ServerName, o.CA = eds, serverName, func() []byte { return r.ca }
	if ai := aiOf(t, filepath.Join(dir, "objects.yaml")); ai != nil {
		o.AI = ai
		for i := range ai.result.Config.Backends {
			if r.place != nil {
				r.place(&ai.result.Config.Backends[i])
			}
		}
		if err := r.backends.Update(t.Context(), ai.result.Config); err != nil {
			t.Fatal(err)
		}
		r.rules = ai.result.Config
		r.router.SetRules(ai.result.Config)
	}
	s := grpc.NewServer(ServerOptions()...)
	newServer(t, o).Register(s)
	addr := r.serve(s, "tcp", "127.0.0.1:0")
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec{encoding.GetCodecV2("proto")})))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	text, err := os.ReadFile(filepath.Join(dir, "input.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	in := fromYAML(t, text)
	for _, l := range in.Listeners {
		a := netip.MustParseAddrPort(testkit.Refused(t))
		l.Address.GetSocketAddress().Address = a.Addr().String()
		l.Address.GetSocketAddress().PortSpecifier = &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())}
		r.ports[l.Name] = int(a.Port())
	}
	if r.edit != nil {
		r.edit(&in, r.rules)
	}
	out := new(message)
	if err := conn.Invoke(t.Context(), "/"+serviceName+"/PostTranslateModify", &message{data: in.request()}, out); err != nil {
		t.Fatal(err)
	}
	return decoded(t, decodeResponse(t, out.data))
}

// merge joins what several Gateways have.
func (r *rig) merge(a, b envoy) envoy {
	known := map[string]bool{}
	clusters := []*clusterv3.Cluster{}
	for _, c := range append(a.Clusters, b.Clusters...) {
		if !known[c.Name] {
			known[c.Name] = true
			clusters = append(clusters, c)
		}
	}
	for _, l := range b.Listeners {
		if a.listener(l.Name) == nil {
			a.Listeners = append(a.Listeners, l)
		}
	}
	return envoy{Clusters: clusters, Listeners: a.Listeners, Routes: append(a.Routes, b.Routes...)}
}

// answer is a response without its body.
type answer struct {
	status int
	header http.Header
	body   string
}

func (r *rig) post(feature, path string, body []byte, headers ...string) (answer, error) {
	url := "http://127.0.0.1:" + strconv.Itoa(r.ports[feature+"/gw/http"]) + path
	q, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(resp.Body)
	return answer{resp.StatusCode, resp.Header, text.String()}, err
}

// must posts and fails the test if there is no answer.
func (r *rig) must(feature, path string, headers ...string) answer {
	r.t.Helper()
	a, err := r.post(feature, path, []byte("{}"), headers...)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// await waits until a path answers with the status.
func (r *rig) await(feature, path string, status int) answer {
	r.t.Helper()
	var a answer
	realenvoy.Eventually(r.t, patience, path, func() (err error) {
		if a, err = r.post(feature, path, []byte("{}")); err == nil && a.status != status {
			err = fmt.Errorf("answers %d %s", a.status, a.body)
		}
		return err
	})
	return a
}
