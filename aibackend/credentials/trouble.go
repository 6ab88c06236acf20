package credentials

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"regexp"
	"strconv"
)

// transportTrouble says in fixed words why an identity provider was not reached.
// Of err it uses nothing but its kind and the host.
func transportTrouble(err error) string {
	host := "the identity provider"
	var ue *url.Error
	if errors.As(err, &ue) {
		if u, e := url.Parse(ue.URL); e == nil && u.Hostname() != "" {
			host = u.Hostname()
		}
	}
	var (
		dns       *net.DNSError
		op        *net.OpError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		timeout   net.Error
	)
	switch {
	case errors.Is(err, errAnswerTooLong):
		return "the answer of " + host + " is longer than any token needs"
	case errors.Is(err, errOwnNetwork):
		return "the address of " + host + " is one of the gateway's own machine or link, where no issuer may be"
	case errors.As(err, &dns):
		return "the name of " + host + " cannot be resolved"
	case errors.As(err, &authority), errors.As(err, &name), errors.As(err, &invalid), errors.As(err, &verify):
		return "the certificate of " + host + " is not trusted"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return host + " did not answer in time"
	case errors.Is(err, context.Canceled):
		return "the request to " + host + " was cancelled"
	case errors.As(err, &op):
		return "no connection to " + host
	}
	return host + " gave no usable answer"
}

var (
	oauthCodes = regexp.MustCompile(`\b(invalid_grant|invalid_client|unauthorized_client|invalid_scope|invalid_request|invalid_target|access_denied|unsupported_grant_type|server_error|temporarily_unavailable)\b`)
	statusCode = regexp.MustCompile(`(?i)\bstatus code:? ([1-5][0-9][0-9])\b`)
	entraCode  = regexp.MustCompile(`\bAADSTS([0-9]{4,9})\b`)
)

// oauthCode finds a code of RFC 6749 or RFC 8693 in an error's text.
func oauthCode(text string) string { return oauthCodes.FindString(text) }

// statusIn finds an HTTP status in an error's text, 0 if there is none.
func statusIn(text string) int {
	m := statusCode.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// reasonOf is the reason for an identity provider's answer: whether it failed or
// refused.
func reasonOf(status int, code string) Reason {
	switch {
	case code == "server_error" || code == "temporarily_unavailable" || status == 429 || status >= 500:
		return ReasonTokenRequestFailed
	case code != "" || status >= 400:
		return ReasonTokenRequestDenied
	}
	return ReasonTokenRequestFailed
}

// answer describes an identity provider's answer by its status and code.
func answer(status int, code string) string {
	s := "an error"
	if status != 0 {
		s = "HTTP " + strconv.Itoa(status)
	}
	if code != "" {
		s += " (" + code + ")"
	}
	return s
}
