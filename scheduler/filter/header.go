package filter

import (
	"strings"

	"github.com/fairway-ai/fairway/scheduler"
)

// HeaderType is the type name of the header filter.
const HeaderType = "header-based-testing-filter"

// SelectionHeader names the endpoints that a conformance test wants, "ip" or
// "ip:port", separated by commas.
const SelectionHeader = "test-epp-endpoint-selection"

// maxSelection bounds the header's value, in bytes; a longer one selects nothing.
const maxSelection = 8 << 10

// Header keeps the endpoints that the request's SelectionHeader names, and all when
// there is none. It lets clients choose their endpoint, so it is for tests only.
type Header struct{ name string }

// NewHeader returns the filter. An empty name means the filter's type.
func NewHeader(name string) *Header {
	if name == "" {
		name = HeaderType
	}
	return &Header{name}
}

// Name implements scheduler.Filter.
func (f *Header) Name() string { return f.name }

// Filter implements scheduler.Filter.
func (f *Header) Filter(c *scheduler.Cycle, in []int32) []int32 {
	if c.Request.Header == nil {
		return in
	}
	wanted := c.Request.Header(SelectionHeader)
	if wanted == "" {
		return in
	}
	out := in[:0]
	if len(wanted) > maxSelection {
		return out
	}
	for _, i := range in {
		if selected(wanted, c.Snapshot.Endpoints[i].Address) {
			out = append(out, i)
		}
	}
	return out
}

// selected tells whether a list names an address, "ip:port" or "[ip]:port".
func selected(list, address string) bool {
	host := address[:max(0, strings.LastIndexByte(address, ':'))]
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		if item == address || item == host || "["+item+"]" == host {
			return item != ""
		}
	}
	return false
}
