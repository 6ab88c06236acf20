package egress

import (
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/xds"
)

const (
	// ownHeaders begins the names of headers that no picker of somebody else may write,
	// and ownNamespace those of metadata: they steer where requests go and count what
	// they cost.
	ownHeaders   = "x-fairway-"
	ownNamespace = xds.AnswerNamespace
)

// consult asks a foreign picker about the request, as it would go to its pool; of paths
// that are no AI API, whose bodies are not waited for, it sees the headers alone. The
// exchange goes on in the pick; otherwise it is closed.
func (w *walk) consult(x extproc.Exchange, t airoute.Target, model string, more bool) (pick extproc.Pick, err error) {
	open := true
	defer func() {
		if open {
			x.Close(false)
		}
	}()
	head := w.req.Head()
	body, ok := w.req.BodyParts(model)
	head.End = !ok
	if ok && model != "" {
		setLength(head.Headers, body.Len())
	}
	if err := x.RequestHeaders(head); err != nil {
		body.Free()
		return pick, err
	}
	if ok {
		x.RequestBody(body, true)
	}
	hold := w.req.Hold
	if more {
		hold = func(d time.Duration) error { return w.req.Hold(max(d, w.router.MaxHold)) }
	}
	c, err := x.Decide(hold)
	if err != nil {
		c.Body.Free()
		return pick, err
	}
	guard(&c)
	if c.Immediate != nil {
		c.Body.Free()
		c.Body, c.BodyChanged = nil, false
		return pick, &refusal{change: c}
	}
	pick.Change, pick.Exchange = &c, x
	if t.Backend == "" {
		pick.Model = model
	}
	open = false
	return pick, nil
}

// setLength corrects the length of a body of which the model's name was replaced.
func setLength(headers []extproc.Header, n int) {
	for i := range headers {
		if headers[i].Name == "content-length" {
			headers[i].Value = strconv.Itoa(n)
		}
	}
}

// guard takes out of a foreign picker's changes what steers the gateway.
func guard(c *extproc.Change) {
	var set [][]byte
	for _, option := range c.SetHeaders {
		if h, _, err := decoded(option); err == nil && !strings.HasPrefix(h.Name, ownHeaders) {
			set = append(set, option)
		}
	}
	var remove []string
	for _, name := range c.RemoveHeaders {
		if !strings.HasPrefix(strings.ToLower(name), ownHeaders) {
			remove = append(remove, name)
		}
	}
	c.SetHeaders, c.RemoveHeaders = set, remove
	if len(c.Metadata) == 0 {
		return
	}
	var md structpb.Struct
	if proto.Unmarshal(c.Metadata, &md) != nil {
		c.Metadata = nil
		return
	}
	found := false
	for namespace := range md.Fields {
		if rest, own := strings.CutPrefix(namespace, ownNamespace); own && (rest == "" || rest[0] == '.') {
			delete(md.Fields, namespace)
			found = true
		}
	}
	if !found {
		return
	}
	b, err := proto.Marshal(&md)
	if err != nil { // its strings were read from protobuf
		b = nil
	}
	c.Metadata = b
}

// decoded is an encoded HeaderValueOption.
func decoded(option []byte) (extproc.Header, corev3.HeaderValueOption_HeaderAppendAction, error) {
	var o corev3.HeaderValueOption
	if err := proto.Unmarshal(option, &o); err != nil {
		return extproc.Header{}, 0, err
	}
	value := string(o.GetHeader().GetRawValue())
	if value == "" {
		value = o.GetHeader().GetValue()
	}
	return extproc.Header{Name: strings.ToLower(o.GetHeader().GetKey()), Value: value}, o.GetAppendAction(), nil
}

// changed is what headers are after a foreign picker's changes, as Envoy makes them.
func changed(headers []extproc.Header, c *extproc.Change) []extproc.Header {
	out := newOutgoing(headers, headers)
	for _, name := range c.RemoveHeaders {
		out.Remove(name)
	}
	for _, option := range c.SetHeaders {
		h, action, err := decoded(option)
		if err != nil || h.Name == extproc.DestinationHeader {
			continue
		}
		there := out.now.index(h.Name) >= 0
		switch action {
		case corev3.HeaderValueOption_ADD_IF_ABSENT:
			if !there {
				out.Add(h.Name, h.Value)
			}
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS:
			if there {
				out.Set(h.Name, h.Value)
			}
		case corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD:
			out.Set(h.Name, h.Value)
		default:
			out.Add(h.Name, h.Value)
		}
	}
	return out.now
}

// mine says whether who answered, by BackendHeader, is the target.
func mine(t airoute.Target, by string) bool {
	if t.Backend != "" {
		return strings.TrimPrefix(by, xds.BackendPrefix) == t.Backend || by == label(t.Backend)
	}
	return strings.TrimPrefix(strings.TrimPrefix(by, xds.RestorePrefix), xds.ClusterPrefix) == t.Pool
}
