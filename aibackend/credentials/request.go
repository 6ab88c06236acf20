package credentials

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// Headers are the headers of a request on its way to a provider. Names are given
// in lower case, and match whatever their case.
type Headers interface {
	// Get returns the first value of a header, "" if there is none.
	Get(name string) string
	// Set replaces all values of a header by one.
	Set(name, value string)
	// Remove removes all values of a header.
	Remove(name string)
	// Names calls yield with the name of each header until it returns false. yield
	// changes nothing.
	Names(yield func(name string) bool)
}

// Request is one try of one request, as it will leave: translated, and addressed
// to the provider.
type Request struct {
	Method string
	// Host is the value of the Host or :authority header, with a port where that has
	// one.
	Host string
	// Path is the path as it is sent, percent-encoded, with the query.
	Path string
	// Headers get the credential. With AWS credentials, content-type must be final.
	Headers Headers
	// Body is the final body. It is read for its digest only.
	Body []byte
	// Client returns a header as the client sent it, for [FromRequestHeader]: a try
	// before this one may have removed it from Headers. nil means Headers.Get.
	Client func(name string) string
}

// String returns the method, the host and the path without its query.
func (r Request) String() string {
	path, _, _ := strings.Cut(r.Path, "?")
	return r.Method + " " + r.Host + path
}

// Format prints what String returns, whatever the verb.
func (r Request) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(r.String())) }

// LogValue logs what String returns.
func (r Request) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalText encodes what String returns.
func (r Request) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Signer puts a credential on a request.
type Signer interface {
	// Sign removes what other credentials the request carries and adds its own, or
	// returns an [*Error] and leaves the request without any. It is safe for
	// concurrent use, and touches nothing of r but its headers.
	Sign(ctx context.Context, r *Request) error
	// Carries lists the headers that Sign may set, in lower case. A try with
	// another Signer must remove them ([Strip]).
	Carries() []string
}
