package credentials

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// redacted is what any secret looks like when it is printed.
const redacted = "[redacted]"

// Secret is a string that does not show itself: printing, logging or encoding it,
// or a value that holds it, yields "[redacted]". The zero Secret is empty.
type Secret struct {
	// A pointer, because package fmt follows none below the top: a Secret in an
	// unexported field, whose methods fmt cannot call, still shows nothing.
	value *string
}

// NewSecret wraps s.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{value: &s}
}

// Reveal returns the wrapped string. Its result belongs into a request and
// nowhere else.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsEmpty says whether there is nothing to hide.
func (s Secret) IsEmpty() bool { return s.value == nil }

// Equal says whether both hold the same string, in a time that does not depend on
// where they differ.
func (s Secret) Equal(o Secret) bool {
	a, b := sha256.Sum256([]byte(s.Reveal())), sha256.Sum256([]byte(o.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// String returns "[redacted]", or "" for the empty Secret.
func (s Secret) String() string {
	if s.IsEmpty() {
		return ""
	}
	return redacted
}

// Format prints as String does, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue logs as String does.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText encodes as String does, so that a dumped configuration shows no
// secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// opaque, embedded in a credential, keeps its inside from being printed, logged or
// encoded.
type opaque struct{}

// Format prints no more than what it is, whatever the verb.
func (opaque) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("credential")) }

// LogValue logs what Format prints.
func (opaque) LogValue() slog.Value { return slog.StringValue("credential") }

// MarshalText encodes what Format prints.
func (opaque) MarshalText() ([]byte, error) { return []byte("credential"), nil }
