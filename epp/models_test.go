package epp

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/proto"

	"github.com/fairway-ai/fairway/epp/models"
	"github.com/fairway-ai/fairway/extproc"
)

// listsOf says which models endpoints list, by address.
type listsOf map[string][]models.Model

func (l listsOf) Read(_ context.Context, address string) ([]models.Model, error) {
	if m, ok := l[address]; ok {
		return m, nil
	}
	return nil, errors.New("refused")
}

// TestListedModels: GET /v1/models is answered from what the endpoints of the pool list,
// and requests go where their model is.
func TestListedModels(t *testing.T) {
	m := models.New(models.Options{Reader: listsOf{
		endpoint(1).Address: {{ID: "base"}, {ID: "sql", Adapter: true}},
		endpoint(0).Address: {{ID: "base"}},
		endpoint(3).Address: {{ID: "hidden"}},
	}})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	two, none, mute := newFakePool(2), newFakePool(0), newFakePool(1)
	two.set(append(two.Snapshot().Endpoints, endpoint(7))) // which does not say
	mute.set(two.Snapshot().Endpoints[2:])
	named := newFakePool(4)
	named.set(named.Snapshot().Endpoints[3:])
	p := newPicker(t, Options{Pools: []Pool{
		{Name: "ns/two", Endpoints: two, Lists: m.Open("ns/two", two)},
		{Name: "ns/none", Endpoints: none, Lists: m.Open("ns/none", none), Named: true},
		{Name: "ns/named", Endpoints: named, Lists: m.Open("ns/named", named), Named: true},
		{Name: "ns/mute", Endpoints: mute, Lists: m.Open("ns/mute", mute), Models: []string{"mute"}},
		{Name: "ns/plain", Endpoints: mute, Models: []string{"plain"}},
	}})
	get := func(method, path, pool string) string {
		pick, err := p.Pick(ctx, &extproc.Request{ID: "r", Method: method, Path: path, Pool: pool})
		var rej *extproc.Rejection
		if errors.As(err, &rej) {
			return rej.Code
		}
		if err != nil {
			return err.Error()
		}
		if pick.Observer != nil {
			pick.Observer.End(time.Now(), extproc.Outcome{})
		}
		if pick.Change == nil {
			return "to " + pick.Destinations
		}
		var answer extprocv3.ImmediateResponse
		if err := proto.Unmarshal(pick.Change.Immediate, &answer); err != nil {
			t.Fatal(err)
		}
		if h := answer.Headers.SetHeaders; answer.Status.Code != 200 || pick.Change.ImmediateStatus != 200 || len(h) != 2 || string(h[0].Header.RawValue) != "application/json" || string(h[1].Header.RawValue) != "r" {
			t.Errorf("answer %v", &answer)
		}
		return string(answer.Body)
	}
	if got := get("GET", "/v1/models", ""); got != "models_unknown" {
		t.Errorf("before anybody has said: %s", got)
	}
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	const all = `{"object":"list","data":[{"id":"base"},{"id":"sql"}]}`
	const hidden = `{"object":"list","data":[{"id":"hidden"}]}`
	for deadline := time.Now().Add(10 * time.Second); get("GET", "/v1/models", "ns/two") != all || get("GET", "/v1/models", "ns/named") != hidden; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no list")
		}
	}
	for _, tt := range []struct{ method, path, pool, want string }{
		{"GET", "/v1/models", "", all},
		{"GET", "/v1/models/?limit=1", "ns/two", all},
		{"GET", "/v1/models", "ns/none", "models_unknown"},
		{"GET", "/v1/models", "ns/mute", "models_unknown"},
		{"GET", "/v1/models", "ns/plain", "to " + endpoint(7).Address},
		{"GET", "/v1/models", "ns/gone", "pool_not_found"},
		{"GET", "/v1/models/base", "ns/mute", "to " + endpoint(7).Address},
		{"POST", "/v1/models", "ns/mute", "to " + endpoint(7).Address},
	} {
		if got := get(tt.method, tt.path, tt.pool); got != tt.want {
			t.Errorf("%s %s of %q: %s, want %s", tt.method, tt.path, tt.pool, got, tt.want)
		}
	}
	for range 20 {
		pick := mustPick(t, p, prompt("r", "sql", 100))
		if pick.Destinations != endpoint(1).Address {
			t.Fatalf("an adapter is asked for at %s", pick.Destinations)
		}
		pick.Observer.End(time.Now(), extproc.Outcome{})
	}
	if pick := mustPick(t, p, prompt("r", "base", 100)); strings.Count(pick.Destinations, ",") != 2 {
		t.Errorf("a base model is asked for at %s", pick.Destinations)
	}
}
