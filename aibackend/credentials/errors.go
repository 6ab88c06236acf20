package credentials

import (
	"errors"
	"fmt"
)

// Reason says in one word, fit for a condition, how a credential is doing.
type Reason string

// The reasons of a [Status] and of an [Error].
const (
	// ReasonReady: requests can be signed.
	ReasonReady Reason = "Ready"
	// ReasonRefreshFailing: requests can be signed, but the token in use could not
	// be replaced so far.
	ReasonRefreshFailing Reason = "RefreshFailing"
	// ReasonPending: nothing was read or asked for yet.
	ReasonPending Reason = "Pending"
	// ReasonInvalidConfig: the configuration contradicts itself or lacks something.
	ReasonInvalidConfig Reason = "InvalidConfig"
	// ReasonSecretNotFound: the Secret, its entry, the file or the variable does not
	// exist, or cannot be read.
	ReasonSecretNotFound Reason = "SecretNotFound"
	// ReasonInvalidSecret: it exists and cannot be what it is used as.
	ReasonInvalidSecret Reason = "InvalidSecret"
	// ReasonTokenRequestFailed: the identity provider could not be asked, or failed.
	ReasonTokenRequestFailed Reason = "TokenRequestFailed"
	// ReasonTokenRequestDenied: the identity provider refused.
	ReasonTokenRequestDenied Reason = "TokenRequestDenied"
	// ReasonAssumeRoleDenied: the cloud refused to let the identity act as the role
	// or service account.
	ReasonAssumeRoleDenied Reason = "AssumeRoleDenied"
	// ReasonNoCredentialFound: a default chain found nothing.
	ReasonNoCredentialFound Reason = "NoCredentialFound"
	// ReasonMissing: the request lacks the header that should carry it.
	ReasonMissing Reason = "Missing"
	// ReasonUnsignable: the request itself cannot be signed.
	ReasonUnsignable Reason = "Unsignable"
	// ReasonClosed: the credential was closed.
	ReasonClosed Reason = "Closed"
)

// ErrMissing is what errors.Is finds in the error of a request that lacks the
// header its credential should come in.
var ErrMissing = errors.New("credential missing in request")

// Error is the only error this package returns. It wraps nothing: an error of an
// SDK may quote what was sent to an identity provider.
type Error struct {
	Reason Reason
	// Message says what is wrong with which object, and how to mend it. It holds no
	// secret and nothing that a server said, but for error codes.
	Message string
}

// Error returns the reason and the message.
func (e *Error) Error() string { return string(e.Reason) + ": " + e.Message }

// Is makes errors.Is(err, ErrMissing) true for [ReasonMissing].
func (e *Error) Is(target error) bool { return target == ErrMissing && e.Reason == ReasonMissing }

func failf(reason Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Message: fmt.Sprintf(format, args...)}
}
