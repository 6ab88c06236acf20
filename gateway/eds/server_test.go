package eds

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/fairway-ai/fairway/gateway/xds"
)

func ready() *Server {
	s := New(Options{})
	s.Ready()
	return s
}

// Of a thousand clusters, only the one that changed is sent again.
func TestDeltaSendsOnlyChanges(t *testing.T) {
	s := New(Options{})
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("ns/p%d", i))
		s.Set(names[i], assignment(names[i], 1000+i))
	}
	s.Ready()
	d := newDelta(t, connect(t, s))
	d.subscribe(nil, names...)
	if got := d.next(); len(got) != 1000 || !slices.Equal(ports(got["ns/p7"]), []int{1007}) {
		t.Fatalf("%d clusters at first, ns/p7 %v", len(got), got["ns/p7"])
	}
	s.Set("ns/p7", assignment("ns/p7", 1, 2))
	d.only("ns/p7", 1, 2)
	// The same again is no change, and neither is another order.
	s.Set("ns/p7", assignment("ns/p7", 2, 1))
	s.Set("ns/p8", assignment("ns/p8", 3))
	d.only("ns/p8", 3)
}

// A replica that was started again, or another one, does not send what Envoy has.
func TestDeltaVersionsSurviveRestart(t *testing.T) {
	first := ready()
	first.Set("ns/same", assignment("ns/same", 1, 2))
	first.Set("ns/changed", assignment("ns/changed", 3))
	d := newDelta(t, connect(t, first))
	d.subscribe(nil, "ns/same", "ns/changed")
	d.next()
	versions := maps.Clone(d.versions)

	second := New(Options{})
	second.Set("ns/changed", assignment("ns/changed", 4))
	second.Set("ns/same", assignment("ns/same", 9))
	second.Set("ns/same", assignment("ns/same", 2, 1))
	second.Ready()
	d = newDelta(t, connect(t, second))
	d.subscribe(versions, "ns/same", "ns/changed")
	d.only("ns/changed", 4)
	d = newDelta(t, connect(t, second))
	d.subscribe(nil, "ns/same")
	d.next()
	if d.versions["ns/same"] != versions["ns/same"] {
		t.Errorf("version %q, was %q for the same content", d.versions["ns/same"], versions["ns/same"])
	}
}

// Nothing is ever taken away: not by a replica that is not ready, not by one that
// does not know the cluster yet, and not when a cluster is deleted.
func TestDeltaNeverRemoves(t *testing.T) {
	s := New(Options{})
	d := newDelta(t, connect(t, s))
	d.subscribe(map[string]string{"ns/p": "old", "ns/late": "old"}, "ns/p", "ns/late")
	s.Set("ns/p", assignment("ns/p", 1))
	s.Ready()
	d.only("ns/p", 1)
	watched(t, s, "ns/late")
	s.Set("ns/late", assignment("ns/late", 2))
	d.only("ns/late", 2)
	s.Delete("ns/p")
	s.Delete("ns/p")
	s.Set("ns/late", assignment("ns/late", 3))
	d.only("ns/late", 3)
	s.Set("ns/p", assignment("ns/p", 4))
	d.only("ns/p", 4)
}

// watched waits until a stream is waiting for the cluster.
func watched(t *testing.T, s *Server, name string) {
	t.Helper()
	for deadline := time.Now().Add(patience); s.linear.NumWatches(name) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody waits for " + name)
		}
	}
}

// early is a stream whose client has nothing to say.
type early[Request, Response any] struct {
	grpc.ServerStream
	ctx context.Context
}

func (e early[Request, Response]) Context() context.Context { return e.ctx }
func (early[Request, Response]) Recv() (*Request, error)    { return nil, io.EOF }
func (early[Request, Response]) Send(*Response) error       { return nil }

// Before the server is ready, nothing is read from a stream, let alone answered.
func TestGate(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	d := early[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]{ctx: ctx}
	w := early[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]{ctx: ctx}
	s := New(Options{})
	if a, b := s.DeltaEndpoints(d), s.StreamEndpoints(w); status.Code(a) != codes.DeadlineExceeded || status.Code(b) != codes.DeadlineExceeded {
		t.Errorf("before: %v, %v", a, b)
	}
	s.Ready()
	s.Ready()
	d.ctx, w.ctx = t.Context(), t.Context()
	if a, b := s.DeltaEndpoints(d), s.StreamEndpoints(w); a != nil || b != nil {
		t.Errorf("after: %v, %v", a, b)
	}
}

// A cluster is answered when it becomes known, however late.
func TestDeltaWaitsForUnknown(t *testing.T) {
	s := ready()
	d := newDelta(t, connect(t, s))
	d.subscribe(nil, "ns/a", "ns/b")
	watched(t, s, "ns/a")
	s.Set("ns/other", assignment("ns/other", 9))
	s.Set("ns/b", assignment("ns/b", 2))
	d.only("ns/b", 2)
	s.Set("ns/a", assignment("ns/a"))
	d.only("ns/a", 1) // the sentinel's port
}

// A stream may not ask for any number of things that do not exist.
func TestBounds(t *testing.T) {
	s := New(Options{MaxUnknown: 2, MaxNameBytes: 10})
	s.Set("known", assignment("known", 1))
	s.Ready()
	client := connect(t, s)
	for _, c := range []struct {
		name  string
		names []string
		want  codes.Code
	}{
		{"enough", []string{"a", "b", "known"}, codes.OK},
		{"too many", []string{"a", "b", "c"}, codes.ResourceExhausted},
		{"too long", []string{strings.Repeat("a", 11)}, codes.InvalidArgument},
	} {
		t.Run(c.name+"/incremental", func(t *testing.T) {
			d := newDelta(t, client)
			// In steps: what counts is the stream, not the message.
			for _, name := range c.names {
				_ = d.stream.Send(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: []string{name}})
			}
			if c.want == codes.OK {
				d.only("known", 1)
				return
			}
			for range d.answers {
				continue
			}
			if status.Code(d.err) != c.want {
				t.Errorf("got %v, want %v", d.err, c.want)
			}
		})
		t.Run(c.name+"/state of the world", func(t *testing.T) {
			stream, err := client.StreamEndpoints(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_ = stream.Send(&discoveryv3.DiscoveryRequest{ResourceNames: c.names})
			if _, err = stream.Recv(); status.Code(err) != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// Close ends streams, answered and waiting ones.
func TestClose(t *testing.T) {
	for _, answered := range []bool{true, false} {
		s := New(Options{})
		s.Set("ns/p", assignment("ns/p", 1))
		d := newDelta(t, connect(t, s))
		d.subscribe(nil, "ns/p")
		if answered {
			s.Ready()
			d.next()
		}
		s.Close()
		for range d.answers {
			continue
		}
	}
}

// The name under which an assignment is set is the cluster's; the caller's object
// is left alone.
func TestSetName(t *testing.T) {
	s := ready()
	a := assignment("ns/other", 1)
	s.Set("ns/p", a)
	s.Set("ns/nil", nil)
	d := newDelta(t, connect(t, s))
	d.subscribe(nil, "ns/p")
	if got := d.next()["ns/p"].GetClusterName(); got != "ns/p" || a.GetClusterName() != "ns/other" {
		t.Errorf("cluster %q, the caller's %q", got, a.GetClusterName())
	}
}

func TestEndpoints(t *testing.T) {
	for _, c := range []struct {
		endpoints []string
		want      string
	}{
		{nil, "127.0.0.1"},
		{[]string{"10.0.0.2:8000"}, "10.0.0.2"},
	} {
		p := xds.Pool{Name: "ns/p", Endpoints: c.endpoints}
		a := Endpoints(p)
		l := a.GetEndpoints()[0].GetLbEndpoints()
		if got := l[0].GetEndpoint().GetAddress().GetSocketAddress().GetAddress(); len(l) != 1 || got != c.want {
			t.Errorf("%v: %v", c.endpoints, a)
		}
	}
}

// BenchmarkSet changes one of 1,000 pools of 10 endpoints while an Envoy that asked
// for all of them listens.
func BenchmarkSet(b *testing.B) {
	s := New(Options{})
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("ns/p%d", i))
		s.Set(names[i], assignment(names[i], 1, 2, 3, 4, 5, 6, 7, 8, 9, 10))
	}
	s.Ready()
	d := newDelta(b, connect(b, s))
	d.subscribe(nil, names...)
	d.next()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		s.Set(names[i%1000], assignment(names[i%1000], 1, 2, 3, 4, 5, 6, 7, 8, 9, 10+i%2000))
		d.next()
	}
}
