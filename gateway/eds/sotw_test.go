package eds

import (
	"maps"
	"slices"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
)

// sotwClient asks by the state-of-the-world form.
type sotwClient struct {
	*testing.T
	stream servicev3.EndpointDiscoveryService_StreamEndpointsClient
	names  []string
}

func (c *sotwClient) ask(names []string, version, nonce string) {
	c.Helper()
	c.names = names
	err := c.stream.Send(&discoveryv3.DiscoveryRequest{ResourceNames: names, VersionInfo: version, ResponseNonce: nonce})
	if err != nil {
		c.Fatal(err)
	}
}

func (c *sotwClient) next() map[string][]int {
	c.Helper()
	type answer struct {
		*discoveryv3.DiscoveryResponse
		error
	}
	answers := make(chan answer, 1)
	go func() {
		r, err := c.stream.Recv()
		answers <- answer{r, err}
	}()
	select {
	case a := <-answers:
		if a.error != nil {
			c.Fatal(a.error)
		}
		got := make(map[string][]int)
		for _, r := range a.GetResources() {
			e := unpack(c, r)
			got[e.GetClusterName()] = ports(e)
		}
		c.ask(c.names, a.GetVersionInfo(), a.GetNonce())
		return got
	case <-time.After(patience):
		c.Fatal("no answer")
	}
	return nil
}

// The state-of-the-world form waits too, and says nothing empty.
func TestStateOfTheWorld(t *testing.T) {
	s := ready()
	stream, err := connect(t, s).StreamEndpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := &sotwClient{T: t, stream: stream}
	c.ask([]string{"ns/a", "ns/b"}, "", "")
	watched(t, s, "ns/a")
	s.Set("ns/other", assignment("ns/other", 9))
	is := func(want map[string][]int) {
		t.Helper()
		if got := c.next(); !maps.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("got %v, want %v", got, want)
		}
	}
	s.Set("ns/b", assignment("ns/b", 2))
	is(map[string][]int{"ns/b": {2}})
	s.Set("ns/a", assignment("ns/a", 1))
	is(map[string][]int{"ns/a": {1}})
	watched(t, s, "ns/b")
	s.Delete("ns/a")
	s.Set("ns/b", assignment("ns/b", 2))
	s.Set("ns/b", assignment("ns/b", 3))
	is(map[string][]int{"ns/b": {3}})
}
