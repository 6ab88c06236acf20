package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"sync/atomic"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	dateLen    = len("20060102")
)

// Keys are AWS credentials. Whoever prints them shows them; they are passed by
// value and held nowhere.
type Keys struct {
	AccessKeyID, SecretAccessKey string
	// SessionToken goes with temporary keys.
	SessionToken string
}

// Request is what is signed.
type Request struct {
	Method string
	// Host is the Host header's value as it is sent.
	Host string
	// Path is the path as it is sent, with the query.
	Path string
	// ContentType is the Content-Type header's value as it is sent, "" without one.
	ContentType string
	Body        []byte
}

// Signature is the headers to set.
type Signature struct {
	// Authorization is the header of that name.
	Authorization string
	// Date is X-Amz-Date.
	Date string
	// SecurityToken is X-Amz-Security-Token; "" means not to send it.
	SecurityToken string
}

// Signer signs for one service in one region. It remembers the signing key of the
// day. The zero Signer is not usable; see [New].
type Signer struct {
	service, region string
	last            atomic.Pointer[derived]
}

// derived is a signing key and what it was derived from: the day, and a digest of
// the secret, so that the secret itself is not held longer than its owner does.
type derived struct {
	date   string
	secret [sha256.Size]byte
	key    []byte
}

// New returns a signer for a service, such as "bedrock", in a region.
func New(service, region string) *Signer {
	return &Signer{service: service, region: region}
}

// Sign signs r at a time. The error says what in r cannot be signed; it quotes
// neither keys nor the request.
func (s *Signer) Sign(k Keys, r Request, now time.Time) (Signature, error) {
	date := now.UTC().Format(timeFormat)
	canonical := make([]byte, 0, 512+len(r.Path)+len(k.SessionToken))
	canonical, err := appendCanonical(canonical, r, date, k.SessionToken)
	if err != nil {
		return Signature{}, err
	}

	scope := date[:dateLen] + "/" + s.region + "/" + s.service + "/aws4_request"
	digest := sha256.Sum256(canonical)
	toSign := make([]byte, 0, len(algorithm)+len(date)+len(scope)+3+2*sha256.Size)
	toSign = append(toSign, algorithm+"\n"...)
	toSign = append(toSign, date...)
	toSign = append(toSign, '\n')
	toSign = append(toSign, scope...)
	toSign = append(toSign, '\n')
	toSign = hex.AppendEncode(toSign, digest[:])

	var sum [sha256.Size]byte
	signature := mac(s.key(k.SecretAccessKey, date[:dateLen]), toSign, sum[:0])

	auth := make([]byte, 0, 256)
	auth = append(auth, algorithm+" Credential="...)
	auth = append(auth, k.AccessKeyID...)
	auth = append(auth, '/')
	auth = append(auth, scope...)
	auth = append(auth, ", SignedHeaders="...)
	auth = appendSignedHeaders(auth, r.ContentType != "", k.SessionToken != "")
	auth = append(auth, ", Signature="...)
	auth = hex.AppendEncode(auth, signature)
	return Signature{Authorization: string(auth), Date: date, SecurityToken: k.SessionToken}, nil
}

// key returns the signing key of a day.
func (s *Signer) key(secret, date string) []byte {
	id := sha256.Sum256([]byte(secret))
	if d := s.last.Load(); d != nil && d.date == date && d.secret == id {
		return d.key
	}
	k := mac([]byte("AWS4"+secret), []byte(date), nil)
	k = mac(k, []byte(s.region), nil)
	k = mac(k, []byte(s.service), nil)
	k = mac(k, []byte("aws4_request"), nil)
	s.last.Store(&derived{date: date, secret: id, key: k})
	return k
}

func mac(key, data, dst []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return h.Sum(dst)
}
