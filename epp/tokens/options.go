package tokens

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Defaults of [Options].
const (
	DefaultBudget      = 50 * time.Millisecond
	DefaultTimeout     = 5 * time.Second
	DefaultConcurrent  = 32
	DefaultMaxRequest  = 4 << 20
	DefaultMaxAnswer   = 32 << 20
	DefaultMaxPending  = 64 << 20
	DefaultCacheBytes  = 64 << 20
	DefaultMaxAge      = time.Hour
	DefaultRefusedAge  = time.Minute
	DefaultFailingWait = 10 * time.Second
	DefaultMissingWait = 10 * time.Minute
)

// waitingPerSlot bounds the questions that wait for one of Options.Concurrent.
const waitingPerSlot = 8

// maxHeaderBytes bounds the headers of an answer.
const maxHeaderBytes = 64 << 10

// Options configure an [Engine]. A zero value means the default, and only Endpoints
// has none.
type Options struct {
	// Endpoints returns the endpoints that can be asked now: "HOST:PORT", for plain
	// HTTP, or a URL without a path. It is called for each question and must not wait.
	Endpoints func() []string
	// Header is sent with each question, for engines that want an API key.
	Header http.Header
	// Budget is how long [Engine.Tokens] takes when the request does not say.
	Budget time.Duration
	// Timeout is how long a question may take, all endpoints together, and
	// ImagesTimeout one about a prompt with images; if that is 0, Timeout.
	Timeout, ImagesTimeout time.Duration
	// Concurrent is the number of questions asked at once. 8 times as many can wait,
	// no longer than their budget.
	Concurrent int
	// MaxRequest bounds a request and MaxAnswer an answer, in bytes.
	MaxRequest, MaxAnswer int
	// MaxPending bounds all requests that are asked about or wait to be, in bytes.
	MaxPending int64
	// CacheBytes bounds the cache.
	CacheBytes int64
	// MaxAge is how long an answer is used: a pool can get another chat template
	// under the same model's name.
	MaxAge time.Duration
	// RefusedAge is how long a refusal is remembered.
	RefusedAge time.Duration
	// FailingWait is how long an endpoint that failed is not asked.
	FailingWait time.Duration
	// MissingWait is how long a route that an endpoint does not have is not tried.
	MissingWait time.Duration
	// Transport carries the questions; nil means one of the Engine's own, which uses
	// no proxy.
	Transport http.RoundTripper
	// Clock is the time; nil means the real time.
	Clock Clock
}

func orDefault[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// normalise fills in defaults. An error names the field that is out of range.
func (o Options) normalise() (Options, error) {
	if o.Endpoints == nil {
		return o, errors.New("tokens: Endpoints is needed")
	}
	orDefault(&o.Budget, DefaultBudget)
	orDefault(&o.Timeout, DefaultTimeout)
	orDefault(&o.ImagesTimeout, o.Timeout)
	orDefault(&o.Concurrent, DefaultConcurrent)
	orDefault(&o.MaxRequest, DefaultMaxRequest)
	orDefault(&o.MaxAnswer, DefaultMaxAnswer)
	orDefault(&o.MaxPending, DefaultMaxPending)
	orDefault(&o.CacheBytes, DefaultCacheBytes)
	orDefault(&o.MaxAge, DefaultMaxAge)
	orDefault(&o.RefusedAge, DefaultRefusedAge)
	orDefault(&o.FailingWait, DefaultFailingWait)
	orDefault(&o.MissingWait, DefaultMissingWait)
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"Budget", int64(o.Budget)}, {"Timeout", int64(o.Timeout)}, {"ImagesTimeout", int64(o.ImagesTimeout)}, {"Concurrent", int64(o.Concurrent)},
		{"MaxRequest", int64(o.MaxRequest)}, {"MaxAnswer", int64(o.MaxAnswer)}, {"CacheBytes", o.CacheBytes},
		{"MaxPending", o.MaxPending},
		{"MaxAge", int64(o.MaxAge)}, {"RefusedAge", int64(o.RefusedAge)},
		{"FailingWait", int64(o.FailingWait)}, {"MissingWait", int64(o.MissingWait)},
	} {
		if f.value < 0 {
			return o, fmt.Errorf("tokens: %s must not be negative", f.name)
		}
	}
	if o.Clock == nil {
		o.Clock = systemClock{}
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
			DisableCompression:     true,
			MaxIdleConnsPerHost:    o.Concurrent,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: maxHeaderBytes,
		}
	}
	return o, nil
}
