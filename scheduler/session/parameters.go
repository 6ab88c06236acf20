package session

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Strategies of [Parameters].
const (
	// EncodedEndpoint has the endpoint in a token.
	EncodedEndpoint = "encoded_endpoint_header"
	// SessionID has an identifier of the client's own.
	SessionID = "session_id"
	// sessionIDHeader is an earlier name of SessionID.
	sessionIDHeader = "session_id_header"
)

// Headers that are read when the parameters name none.
const (
	TokenHeader = "x-session-token"
	IDHeader    = "x-session-id"
)

// Parameters are those of the session affinity filter and scorer. Fields of earlier
// versions are accepted besides.
type Parameters struct {
	// Strategy is EncodedEndpoint (the default) or SessionID.
	Strategy string `json:"strategy"`
	// ProfileName is the profile whose pick the session is kept on; "" is the
	// endpoint that answers.
	ProfileName           string        `json:"profileName"`
	EncodedEndpointHeader EncodedConfig `json:"encodedEndpointHeaderConfig"`
	SessionIDConfig       IDConfig      `json:"sessionIdConfig"`

	// Algorithm is Strategy, HeaderName the header of either strategy, and the
	// others are those of SessionIDConfig, in earlier versions.
	Algorithm            string  `json:"algorithm"`
	HeaderName           string  `json:"headerName"`
	EvictionTTLSeconds   float64 `json:"evictionTtlSeconds"`
	EvictionSweepSeconds float64 `json:"evictionSweepSeconds"`
	// MissThreshold is ignored: a session moves when its endpoint is gone.
	MissThreshold int `json:"missThreshold"`
}

// EncodedConfig is for EncodedEndpoint.
type EncodedConfig struct {
	// Header is the token's header on requests and responses.
	Header string `json:"header"`
}

// IDConfig is for SessionID.
type IDConfig struct {
	// Sources are where the identifier is, in order; the first one that is not empty
	// counts.
	Sources []Source `json:"sources"`
	// EvictionTTLSeconds is how long an unused session is remembered; 0 means 300.
	EvictionTTLSeconds float64 `json:"evictionTtlSeconds"`
	// EvictionSweepSeconds is the time between two sweeps of old sessions; 0 means 10.
	EvictionSweepSeconds float64 `json:"evictionSweepSeconds"`
}

// Source is where a session's identifier is: a request header, or the attribute of a
// session-id-producer, which then says which header or cookie it is.
type Source struct {
	Header    string `json:"header"`
	Attribute string `json:"attribute"`
	// Cookie is a cookie's name; it comes from a session-id-producer.
	Cookie string `json:"-"`
}

const (
	defaultTTL   = 300 * time.Second
	defaultSweep = 10 * time.Second
	defaultSize  = 1 << 16
	// maxSeconds bounds the times, about a year.
	maxSeconds = 3e7
)

// Validate reports the first parameter that makes no sense.
func (p Parameters) Validate() error {
	for _, s := range [...]struct{ field, value string }{{"strategy", p.Strategy}, {"algorithm", p.Algorithm}} {
		switch s.value {
		case "", EncodedEndpoint, SessionID, sessionIDHeader:
		default:
			return fmt.Errorf("%s is %.60q: must be %s or %s", s.field, s.value, EncodedEndpoint, SessionID)
		}
	}
	for _, s := range [...]struct {
		field string
		value float64
	}{
		{"evictionTtlSeconds", p.EvictionTTLSeconds}, {"evictionSweepSeconds", p.EvictionSweepSeconds},
		{"sessionIdConfig.evictionTtlSeconds", p.SessionIDConfig.EvictionTTLSeconds},
		{"sessionIdConfig.evictionSweepSeconds", p.SessionIDConfig.EvictionSweepSeconds},
	} {
		if !(s.value >= 0 && s.value <= maxSeconds) {
			return fmt.Errorf("%s is %v: must be 0 or more seconds", s.field, s.value)
		}
	}
	for i, s := range p.SessionIDConfig.Sources {
		if (s.Header == "") == (s.Attribute == "") {
			return fmt.Errorf("sessionIdConfig.sources[%d]: set header or attribute, one of them", i)
		}
	}
	if p.MissThreshold < 0 {
		return errors.New("missThreshold must not be negative")
	}
	return nil
}

// ByID reports whether the strategy is SessionID.
func (p Parameters) ByID() bool {
	s := p.Strategy
	if s == "" {
		s = p.Algorithm
	}
	return s == SessionID || s == sessionIDHeader
}

// Effective is p with the defaults that apply to its strategy, for people to read.
func (p Parameters) Effective() Parameters {
	if !p.ByID() {
		if p.Strategy == "" && p.Algorithm == "" {
			p.Strategy = EncodedEndpoint
		}
		if p.EncodedEndpointHeader.Header == "" && p.HeaderName == "" {
			p.EncodedEndpointHeader.Header = TokenHeader
		}
		return p
	}
	c := &p.SessionIDConfig
	if c.EvictionTTLSeconds == 0 && p.EvictionTTLSeconds == 0 {
		c.EvictionTTLSeconds = defaultTTL.Seconds()
	}
	if c.EvictionSweepSeconds == 0 && p.EvictionSweepSeconds == 0 {
		c.EvictionSweepSeconds = defaultSweep.Seconds()
	}
	return p
}

// header is the token's.
func (p Parameters) header() string {
	for _, h := range []string{p.EncodedEndpointHeader.Header, p.HeaderName} {
		if h = lower(h); h != "" {
			return h
		}
	}
	return TokenHeader
}

// sources are the identifier's.
func (p Parameters) sources() []Source {
	var out []Source
	for _, s := range p.SessionIDConfig.Sources {
		if s.Header != "" || s.Cookie != "" {
			out = append(out, Source{Header: lower(s.Header), Cookie: s.Cookie})
		}
	}
	switch {
	case len(out) > 0:
		return out
	case p.HeaderName != "":
		return []Source{{Header: lower(p.HeaderName)}}
	}
	return []Source{{Header: IDHeader}}
}

func lower(header string) string { return strings.ToLower(strings.TrimSpace(header)) }

// seconds is the first of the values that is set, else def.
func seconds(def time.Duration, values ...float64) time.Duration {
	for _, v := range values {
		if v > 0 {
			return time.Duration(math.Max(1, v*float64(time.Second)))
		}
	}
	return def
}
