package egress

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"github.com/fairway-ai/fairway/extproc"
)

// getter reads headers.
type getter []extproc.Header

// Get returns the first value of a header by its lower-case name.
func (g getter) Get(name string) string {
	for _, h := range g {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// values are all values of a header.
func (g getter) values(name string) (all []string) {
	for _, h := range g {
		if h.Name == name {
			all = append(all, h.Value)
		}
	}
	return all
}

// outgoing are the headers of a request on its way out, and what must be told Envoy
// to make them so.
type outgoing struct {
	there getter // what Envoy has
	now   getter
}

// newOutgoing begins with the original headers, or with those that are there where
// nothing was saved.
func newOutgoing(there, original []extproc.Header) *outgoing {
	if original == nil {
		original = there
	}
	return &outgoing{there: there, now: slices.Clone(original)}
}

// Get implements credentials.Headers.
func (o *outgoing) Get(name string) string { return o.now.Get(name) }

// Set implements credentials.Headers.
func (o *outgoing) Set(name, value string) {
	o.Remove(name)
	o.Add(name, value)
}

// Add adds one more value.
func (o *outgoing) Add(name, value string) {
	o.now = append(o.now, extproc.Header{Name: strings.ToLower(name), Value: value})
}

// Remove implements credentials.Headers.
func (o *outgoing) Remove(name string) {
	name = strings.ToLower(name)
	o.now = slices.DeleteFunc(o.now, func(h extproc.Header) bool { return h.Name == name })
}

// removeOfProxies removes what proxies say of the client, and what clients say to
// gateways, which are none of a provider's business.
func (o *outgoing) removeOfProxies() {
	o.now = slices.DeleteFunc(o.now, func(h extproc.Header) bool {
		return strings.HasPrefix(h.Name, "x-forwarded-") || strings.HasPrefix(h.Name, "x-envoy-") ||
			strings.HasPrefix(h.Name, "x-fairway") || strings.HasPrefix(h.Name, "x-gateway-") ||
			h.Name == "forwarded" || h.Name == "via" || h.Name == "x-real-ip"
	})
}

// providersOwn are headers of providers' answers about their hosts and our account
// there, which are none of a client's business.
var providersOwn = [...]string{
	"set-cookie", "alt-svc", "strict-transport-security", "openai-organization", "openai-project", "anthropic-organization-id",
}

// Names implements credentials.Headers.
func (o *outgoing) Names(yield func(string) bool) {
	for _, h := range o.now {
		if !yield(h.Name) {
			return
		}
	}
}

// mutation is what turns the headers that are there into those of now. Envoy removes
// before it sets.
func (o *outgoing) mutation() (set [][]byte, remove []string) {
	for _, h := range o.there {
		if !strings.HasPrefix(h.Name, ":") && o.now.index(h.Name) < 0 && !slices.Contains(remove, h.Name) {
			remove = append(remove, h.Name)
		}
	}
	for i, h := range o.now {
		if o.now.index(h.Name) != i || h.Name == "content-length" {
			continue // done with its first value; the length is the body's
		}
		values := o.now.values(h.Name)
		if slices.Equal(values, o.there.values(h.Name)) {
			continue
		}
		for k, v := range values {
			set = append(set, encoded(h.Name, v, k > 0))
		}
	}
	return set, remove
}

func (g getter) index(name string) int {
	return slices.IndexFunc(g, func(h extproc.Header) bool { return h.Name == name })
}

// option sets a header, whatever was there.
func option(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, RawValue: []byte(value)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func encoded(name, value string, more bool) []byte {
	o := option(name, value)
	if more {
		o.AppendAction = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
	}
	b, err := proto.Marshal(o)
	if err != nil { // names are ours or were headers before; values are bytes
		return nil
	}
	return b
}
