package envoygateway

import (
	"testing"

	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

func TestProtocols(t *testing.T) {
	_, out := feature(t, "protocols")
	for name, want := range map[string]bool{"h1": false, "h2": true, "unsaid": false} {
		o := new(httpv3.HttpProtocolOptions)
		c := out.cluster("fairway/protocols/" + name)
		if err := c.TypedExtensionProtocolOptions["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].UnmarshalTo(o); err != nil {
			t.Fatal(err)
		}
		if got := o.GetExplicitHttpConfig().GetHttp2ProtocolOptions() != nil; got != want {
			t.Errorf("%s speaks HTTP/2: %v", name, got)
		}
	}
}
