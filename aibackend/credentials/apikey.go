package credentials

import (
	"context"
	"strings"
	"time"
)

// headerValue is a header that carries a credential.
type headerValue struct {
	value Secret
	// quotaProject is sent beside it, if set.
	quotaProject string
}

// keyMaker puts a fixed key in a header.
type keyMaker struct {
	key          input
	header       string
	prefix       string
	quotaProject string
	names        []string
}

func newKeyMaker(v Value, what, header, prefix string) (*keyMaker, *Error) {
	header = strings.ToLower(header)
	if err := checkHeaderName(header); err != nil {
		return nil, err
	}
	if wrong := prefixProblem(prefix); wrong != "" {
		return nil, failf(ReasonInvalidConfig, "the prefix for header %s %s", header, wrong)
	}
	return &keyMaker{key: input{v, what, keyText}, header: header, prefix: prefix, names: []string{header}}, nil
}

func apiKeyMaker(c APIKey) (*keyMaker, *Error) {
	header, prefix := c.Header, ""
	if header == "" {
		header = "authorization"
	}
	if strings.EqualFold(header, "authorization") {
		prefix = "Bearer "
	}
	if c.Prefix != nil {
		prefix = *c.Prefix
	}
	return newKeyMaker(c.Value, "the API key", header, prefix)
}

func (m *keyMaker) inputs() []input { return []input{m.key} }

func (m *keyMaker) fetch(_ context.Context, values []string) (headerValue, time.Time, error) {
	return headerValue{value: NewSecret(m.prefix + values[0]), quotaProject: m.quotaProject}, time.Time{}, nil
}

func (m *keyMaker) put(r *Request, token headerValue) error {
	token.put(r, m.header)
	return nil
}

func (m *keyMaker) carries() []string { return m.names }

func (m *keyMaker) local() bool { return true }

func (v headerValue) put(r *Request, header string) {
	r.Headers.Set(header, v.value.Reveal())
	if v.quotaProject != "" {
		r.Headers.Set(quotaProjectHeader, v.quotaProject)
	}
}

const quotaProjectHeader = "x-goog-user-project"

// bearer is the token as it is sent. A token that cannot be in a header is the
// identity provider's fault.
func bearer(token, quotaProject string) (headerValue, *Error) {
	if token == "" || keyText(token) != "" || len(token) > maxValue {
		return headerValue{}, failf(ReasonTokenRequestFailed, "the identity provider's answer holds no usable token")
	}
	return headerValue{value: NewSecret("Bearer " + token), quotaProject: quotaProject}, nil
}
