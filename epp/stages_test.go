package epp

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/filter"
	"github.com/fairway-ai/fairway/scheduler/picker"
	"github.com/fairway-ai/fairway/scheduler/prefix"
	"github.com/fairway-ai/fairway/scheduler/profile"
)

// stamping is a policy that wants a session token on responses.
type stamping struct{ scheduler.Policy }

func (stamping) Stamps() []scheduler.Stamp { return []scheduler.Stamp{{Header: HeaderSession}} }

// rolePool is a pool of a prefill, an encode and two decode endpoints.
func rolePool() *fakePool {
	p := newFakePool(4)
	es := slices.Clone(p.Snapshot().Endpoints)
	for i, role := range []string{filter.RolePrefill, filter.RoleEncode, filter.RoleDecode, filter.RoleDecode} {
		es[i].Labels = map[string]string{filter.RoleLabel: role, "zone": role + "-zone"}
	}
	p.set(es)
	p.index = prefix.New(prefix.Options{Shards: 1})
	for i := range es {
		p.index.AddEndpoint(es[i].Slot, 1<<20)
	}
	return p
}

// stagesOf is a policy of all three stages.
func stagesOf(port int, f ...scheduler.Filter) *profile.Disagg {
	one := picker.NewMaxScore("", picker.Parameters{MaxNumOfEndpoints: 1})
	two := picker.NewMaxScore("", picker.Parameters{MaxNumOfEndpoints: 2})
	return profile.NewDisagg("", profile.Stages{
		Decode:    scheduler.NewProfile("decode", append([]scheduler.Filter{filter.NewDecode("")}, f...), nil, two),
		Prefill:   scheduler.NewProfile("prefill", []scheduler.Filter{filter.NewPrefill("")}, nil, one),
		Encode:    scheduler.NewProfile("encode", []scheduler.Filter{filter.NewEncode("")}, nil, one),
		PrefillIf: profile.NewPrefixBased("", profile.PrefixBasedParameters{NonCachedTokens: 600}), EncodeIf: profile.NewAlwaysMultimodal(""),
		Port: port,
	})
}

func header(hs []extproc.Header, name string) string {
	for _, h := range hs {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

func TestPrefillElsewhere(t *testing.T) {
	pool := rolePool()
	pools := onePool(pool)
	pools[0].Policy = stagesOf(0)
	m := metrics.New(metrics.Options{})
	p := newPicker(t, Options{Pools: pools, Metrics: m})
	es := pool.Snapshot().Endpoints
	req := prompt("r", "m", 1000)
	req.Body.Images = 1
	for i := range 15 {
		req.Body.Blocks = append(req.Body.Blocks, prefix.Block{Hash: uint64(i + 1), Tokens: 64})
	}
	pick := mustPick(t, p, req)
	want := []extproc.Header{
		{Name: "x-llm-d-prefiller-host-port", Value: es[0].Address}, {Name: "x-prefiller-host-port", Value: es[0].Address},
		{Name: "x-llm-d-encoder-hosts-ports", Value: es[1].Address}, {Name: "x-encoder-hosts-ports", Value: es[1].Address},
	}
	if !slices.Equal(pick.SetHeaders, want) {
		t.Errorf("headers %v, want the prefill and the encode endpoint by both names", pick.SetHeaders)
	}
	picked := pool.Snapshot().IndexOf(pick.Destinations[:len(es[2].Address)])
	if picked < 2 {
		t.Fatalf("picked %s", pick.Destinations)
	}
	tokens := 1000 + int64(scan.TokensPerImage)
	if v := es[0].Load.View(); v.Requests != 1 || v.Backlog != tokens || v.Prefilling != tokens {
		t.Errorf("prefill endpoint %+v, want the whole prompt", v)
	}
	if v := es[1].Load.View(); v.Requests != 1 || v.Backlog != 0 {
		t.Errorf("encode endpoint %+v, want a request", v)
	}
	if v := es[picked].Load.View(); v.Requests != 1 || v.Backlog != 0 || v.Context != tokens {
		t.Errorf("picked endpoint %+v, want the context and no backlog", v)
	}
	now := time.Now()
	pick.Observer.ResponseHeaders(now, 200, es[5-picked].Address) // the gateway tried the other one
	if v := es[5-picked].Load.View(); v.Requests != 1 || v.Backlog != 0 {
		t.Errorf("the endpoint that served has %+v", v)
	}
	pick.Observer.FirstToken(now.Add(time.Second))
	drained(t, es[:2])
	pick.Observer.End(now.Add(2*time.Second), extproc.Outcome{Status: 200, Complete: true})
	drained(t, es)

	// The endpoint that served and the one that processed the prompt both have it now.
	for _, i := range []int{0, 5 - picked, picked} {
		if got := pool.index.MatchOne(req.Body.Blocks, es[i].Slot); got != 960 {
			t.Errorf("%s has %d tokens cached, want 960", es[i].ID, got)
		}
	}
	again := mustPick(t, p, req)
	if h := header(again.SetHeaders, HeaderPrefiller); h != "" {
		t.Errorf("prefill at %s although the prompt is cached where it is answered", h)
	}
	again.Observer.End(now, extproc.Outcome{})
	drained(t, es)
	for _, decision := range []string{"encode-prefill-decode", "encode-decode"} {
		if want := `llm_d_epp_disagg_decision_total{decision_type="` + decision + `",model_name="m",plugin_name="disagg-profile-handler",plugin_type="disagg-profile-handler"} 1`; !strings.Contains(scrape(m), want) {
			t.Errorf("no line %s", want)
		}
	}
}

// stagesClock is a clock whose timers all ring when the test says so.
type stagesClock struct {
	now time.Time
	due []func()
}

func (c *stagesClock) Now() time.Time { return c.now }

func (c *stagesClock) AfterFunc(_ time.Duration, f func()) (stop func() bool) {
	c.due = append(c.due, f)
	return func() bool { return true }
}

// An answer in one piece: the endpoint that processes the prompt is not taken to be
// busy until the last token.
func TestPrefillElsewhereIsEstimated(t *testing.T) {
	pool := rolePool()
	pools := onePool(pool)
	pools[0].Policy = stagesOf(0)
	clock := &stagesClock{now: time.Unix(1000, 0)}
	p := newPicker(t, Options{Pools: pools, Clock: clock})
	req := prompt("r", "m", 1000)
	req.Body.Stream = false
	pick := mustPick(t, p, req)
	prefill := pool.Snapshot().Endpoints[0].Load
	if prefill.View().Prefilling != 1000 {
		t.Fatalf("%+v", prefill.View())
	}
	clock.now = clock.now.Add(time.Minute)
	for _, f := range clock.due {
		f()
	}
	if v := prefill.View(); v.Prefilling != 0 || v.Requests != 1 {
		t.Errorf("after a minute %+v, want no prompt outstanding", v)
	}
	pick.Observer.End(clock.now, extproc.Outcome{Status: 200, Complete: true})
	drained(t, pool.Snapshot().Endpoints)
}

// What several stages allocate besides is their headers.
func TestStagesAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("pools are unpredictable under the race detector")
	}
	pool := rolePool()
	pools := onePool(pool)
	pools[0].Policy = stagesOf(0)
	p := newPicker(t, Options{Pools: pools})
	req := prompt("r", "m", 1000)
	ctx, now := context.Background(), time.Now()
	one := func() {
		pick, err := p.Pick(ctx, req)
		if err != nil || len(pick.SetHeaders) != 2 {
			t.Fatal(pick, err)
		}
		pick.Observer.FirstToken(now)
		pick.Observer.End(now, extproc.Outcome{Status: 200, Complete: true})
	}
	for range 20 {
		one()
	}
	if n := testing.AllocsPerRun(200, one); n > 4 {
		t.Errorf("%.1f allocations, want at most 4", n)
	}
}

func TestRanksBehindOnePort(t *testing.T) {
	pool := rolePool()
	es := slices.Clone(pool.Snapshot().Endpoints)
	es[2].Address, es[3].Address = "10.9.0.1:8001", "10.9.0.1:8002"
	pool.set(es)
	pools := onePool(pool)
	pools[0].Policy = stagesOf(8000)
	p := newPicker(t, Options{Pools: pools})
	pick := mustPick(t, p, prompt("r", "m", 10))
	if pick.Destinations != "10.9.0.1:8000" {
		t.Errorf("destinations %q, want the pod's one port", pick.Destinations)
	}
	rank := pool.Snapshot().IndexOf(header(pick.SetHeaders, HeaderDataParallel))
	if rank < 2 {
		t.Fatalf("headers %v", pick.SetHeaders)
	}
	pick.Observer.ResponseHeaders(time.Now(), 200, "10.9.0.1:8000")
	if v := es[rank].Load.View(); v.Requests != 1 || len(pool.suspected()) != 0 {
		t.Errorf("rank %+v, suspects %v: what served is the pick", v, pool.suspected())
	}
	pick.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
	drained(t, es)
}

// labelFilter stands for a plugin that wants labels on responses.
type labelFilter struct{ *filter.Header }

func (labelFilter) Stamps() []scheduler.Stamp {
	return []scheduler.Stamp{
		{Header: "x-zone", Label: "zone"}, {Header: "x-prefill-zone", Label: "zone", Profile: "prefill"},
		{Header: "x-prefill-token", Profile: "prefill"}, {Header: "x-encode-zone", Label: "zone", Profile: "encode"},
		{Header: "x-missing", Label: "rack"},
	}
}

func TestStamps(t *testing.T) {
	pool := rolePool()
	pools := onePool(pool)
	pools[0].Policy = profile.NewOutput(stagesOf(0, labelFilter{filter.NewHeader("")}), 2, 1<<20)
	p := newPicker(t, Options{Pools: pools})
	es := pool.Snapshot().Endpoints
	now := time.Now()
	long := mustPick(t, p, prompt("r", "m", 1000))
	var output int64
	for i := range es {
		output += es[i].Load.View().Output
	}
	if output != 2000 {
		t.Errorf("%d tokens of output in flight, want 2000 at the picked endpoint", output)
	}
	got := long.Observer.ResponseHeaders(now, 200, "")
	want := []extproc.Header{
		{Name: "x-zone", Value: "decode-zone"}, {Name: "x-prefill-zone", Value: "prefill-zone"},
		{Name: "x-prefill-token", Value: sessionToken(es[0].ID)},
	}
	if !slices.Equal(got, want) {
		t.Errorf("response headers %v, want %v", got, want)
	}
	long.Observer.End(now, extproc.Outcome{})
	short := mustPick(t, p, prompt("r", "m", 10))
	if got := short.Observer.ResponseHeaders(now, 200, ""); !slices.Equal(got, want[:1]) {
		t.Errorf("response headers %v, want %v", got, want[:1])
	}
	short.Observer.End(now, extproc.Outcome{})
	drained(t, es)
}

func TestOnlyWhereCached(t *testing.T) {
	pool := rolePool()
	p := newPicker(t, Options{Pools: onePool(pool)})
	ask := func(prefer string) error {
		req := extproc.NewRequest([]extproc.Header{{Name: "prefer", Value: prefer}}, nil)
		req.Body = prompt("r", "m", 64).Body
		req.Body.Blocks = []prefix.Block{{Hash: 7, Tokens: 64}}
		pick, err := p.Pick(context.Background(), req)
		if err == nil {
			pick.Observer.End(time.Now(), extproc.Outcome{Status: 200, Complete: true})
		}
		return err
	}
	var rej *extproc.Rejection
	for _, prefer := range []string{"if-available", "respond-async, If-Available; x=1"} {
		if err := ask(prefer); !errors.As(err, &rej) || rej.Status != 412 {
			t.Errorf("Prefer: %s: %v, want a 412", prefer, err)
		}
	}
	drained(t, pool.Snapshot().Endpoints)
	for _, prefer := range []string{"respond-async", "", "if-available"} { // cached from the first on
		if err := ask(prefer); err != nil {
			t.Errorf("Prefer: %s: %v", prefer, err)
		}
	}
}

func TestProfileByHeader(t *testing.T) {
	pool := rolePool()
	pools := onePool(pool)
	one := picker.NewMaxScore("", picker.Parameters{MaxNumOfEndpoints: 1})
	pools[0].Policy = profile.NewByHeader("", profile.DefaultHeaderParameters(), []*scheduler.Profile{
		scheduler.NewProfile("decode", []scheduler.Filter{filter.NewDecode("")}, nil, one),
		scheduler.NewProfile("prefill", []scheduler.Filter{filter.NewPrefill("")}, nil, one),
	})
	p := newPicker(t, Options{Pools: pools})
	ask := func(name string) (extproc.Pick, error) {
		req := extproc.NewRequest([]extproc.Header{{Name: "epp-profile", Value: name}}, nil)
		req.Body = prompt("r", "m", 64).Body
		return p.Pick(context.Background(), req)
	}
	pick, err := ask("prefill")
	if err != nil || pick.Destinations != pool.Snapshot().Endpoints[0].Address {
		t.Errorf("%v %v, want the prefill endpoint", pick.Destinations, err)
	}
	var rej *extproc.Rejection
	if _, err := ask("encode"); !errors.As(err, &rej) || rej.Status != 400 {
		t.Errorf("%v, want a 400", err)
	}
}

// TestStageEndsForHeld: a request that another policy holds for the endpoint that
// processes a prompt goes as soon as that is done.
func TestStageEndsForHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool := rolePool()
		es := pool.Snapshot().Endpoints
		staged := onePool(pool)
		staged[0].Policy = stagesOf(0)
		p := newPicker(t, Options{Pools: staged, Hold: true})
		defer p.Close()
		run := mustPick(t, p, prompt("long", "m", 2*scheduler.HoldTokens))
		if header(run.SetHeaders, HeaderPrefiller) != es[0].Address {
			t.Fatalf("headers %v, want the prompt to be processed elsewhere", run.SetHeaders)
		}
		if err := p.SetPools(onePool(pool)); err != nil {
			t.Fatal(err)
		}
		req := prompt("held", "m", 10)
		req.Subset, req.HasSubset = []string{es[0].Address}, true
		a := ask(p, req)
		synctest.Wait()
		if a.over() {
			t.Fatal("the endpoint was not busy")
		}
		time.Sleep(time.Second)
		run.Observer.ResponseHeaders(time.Now(), 200, "")
		run.Observer.FirstToken(time.Now())
		<-a.done
		if a.err != nil || a.took != time.Second {
			t.Errorf("sent after %v (error %v), want when there was room", a.took, a.err)
		}
		run.Observer.End(time.Now(), extproc.Outcome{})
		a.pick.Observer.End(time.Now(), extproc.Outcome{})
		drained(t, es)
	})
}
