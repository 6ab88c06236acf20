package airoute

import (
	"fmt"
	"slices"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/aibackend"
)

func (m *backendBuilder) headers() {
	h := m.x.Spec.Headers
	if h == nil {
		return
	}
	read := func(field string, all []gatewayv1.HTTPHeader) (list []aibackend.Header) {
		for i, h := range all {
			name := strings.ToLower(string(h.Name))
			if !m.header(fmt.Sprintf("spec.headers.%s[%d].name", field, i), name) {
				continue
			}
			if strings.ContainsAny(h.Value, "\r\n\x00") {
				m.invalid(fmt.Sprintf("spec.headers.%s[%d].value", field, i), "must be one line")
				continue
			}
			list = append(list, aibackend.Header{Name: name, Value: h.Value})
		}
		return list
	}
	m.out.SetHeaders, m.out.AddHeaders = read("set", h.Set), read("add", h.Add)
	for i, name := range h.Remove {
		if name = strings.ToLower(name); m.header(fmt.Sprintf("spec.headers.remove[%d]", i), name) {
			m.out.RemoveHeaders = append(m.out.RemoveHeaders, name)
		}
	}
}

// header says whether a header of that name, in lower case, may be changed, and tells
// where not.
func (m *backendBuilder) header(field, name string) bool {
	ok := name != "" && len(name) <= 256 && name != "host" && name != "content-length" && name != "transfer-encoding" && !strings.HasPrefix(name, "x-fairway-") &&
		!strings.ContainsFunc(name, func(c rune) bool { return c != '-' && c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9') })
	if !ok {
		m.invalid(field, "is not the name of a header that can be changed")
	}
	return ok
}

// ownFields are fields of a body that other parts of an AIRoute decide, and why.
var ownFields = [...]struct{ name, why string }{
	{"model", "cannot be changed here; set model in the AIRoute's backendRefs"},
	{"stream", "cannot be changed; the client says how it reads the answer"},
}

func (m *backendBuilder) body() {
	in := m.x.Spec.Body
	if in == nil {
		return
	}
	var seen []string
	field := func(at, name string) bool {
		for _, own := range ownFields {
			if name == own.name {
				m.invalid(at, "%s %s", own.name, own.why)
				return false
			}
		}
		if name == "" || len(name) > 256 || slices.Contains(seen, name) {
			m.invalid(at, "must be the name of a field, each only once")
			return false
		}
		seen = append(seen, name)
		return true
	}
	for i, f := range in.Set {
		at := fmt.Sprintf("spec.body.set[%d]", i)
		if !field(at+".name", f.Name) {
			continue
		}
		value := aibackend.Field{Name: f.Name, Value: []byte(strings.TrimSpace(f.Value))}
		if len(f.Value) > 4096 || value.Check() != nil {
			m.invalid(at+".value", `must be JSON of at most 4096 bytes, as in "text" with the quotes, true or 3`)
			continue
		}
		m.out.SetBody = append(m.out.SetBody, value)
	}
	for i, name := range in.Remove {
		if field(fmt.Sprintf("spec.body.remove[%d]", i), name) {
			m.out.RemoveBody = append(m.out.RemoveBody, name)
		}
	}
}
