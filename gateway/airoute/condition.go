package airoute

import (
	"fmt"
	"regexp"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// match reads a condition.
func (p *problems) match(at string, in *v1alpha1.AIRouteMatch) Match {
	var out Match
	if m := in.Model; m != nil {
		out.Model = p.compare(at+".model", string(m.Type), m.Value, "Prefix")
	}
	if in.Path != nil {
		out.Path = p.path(at+".path", in.Path.Type, in.Path.Value)
	}
	for i, h := range in.Headers {
		field := fmt.Sprintf("%s.headers[%d]", at, i)
		kind := "Exact"
		if h.Type != nil {
			kind = string(*h.Type)
		}
		name := strings.ToLower(string(h.Name))
		if name == "host" {
			name = ":authority"
		}
		if name == "" || strings.HasPrefix(name, "x-fairway-") {
			p.invalid(field+".name", "must be a header that clients send")
		}
		out.Headers = append(out.Headers, HeaderMatch{name, p.compare(field, kind, h.Value, "")})
	}
	return out
}

func (p *problems) path(at string, k *gatewayv1.PathMatchType, v *string) Comparison {
	kind, value := pathOf(k, v)
	if kind != gatewayv1.PathMatchRegularExpression && (!strings.HasPrefix(value, "/") || len(value) > 1024 || strings.ContainsAny(value, "?#\r\n")) {
		p.invalid(at+".value", "must be a path of at most 1024 characters, as in /v1")
		return Comparison{}
	}
	if kind == gatewayv1.PathMatchPathPrefix {
		return Below(value)
	}
	return p.compare(at, string(kind), value, "")
}

// pathOf is a match of paths with its defaults filled in.
func pathOf(k *gatewayv1.PathMatchType, v *string) (kind gatewayv1.PathMatchType, value string) {
	kind, value = gatewayv1.PathMatchPathPrefix, "/"
	if k != nil {
		kind = *k
	}
	if v != nil {
		value = *v
	}
	return kind, value
}

// compare reads a type and a value. prefix is what the type of prefixes is called, ""
// where there is none.
func (p *problems) compare(at, kind, value, prefix string) Comparison {
	switch {
	case value == "" || len(value) > 4096:
		p.invalid(at+".value", "must have 1 to 4096 characters")
	case kind == "" || kind == "Exact":
		return Equal(value)
	case kind == "RegularExpression":
		if re, err := regexp.Compile(`^(?:` + value + `)$`); err == nil {
			return Matching(re)
		}
		p.invalid(at+".value", "is not a regular expression")
	case kind == prefix && prefix != "":
		return HasPrefix(value)
	default:
		p.invalid(at+".type", "must be Exact, RegularExpression%s", map[bool]string{true: " or Prefix"}[prefix != ""])
	}
	return Comparison{}
}
