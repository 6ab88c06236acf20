package kube

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	toolscache "k8s.io/client-go/tools/cache"
)

const (
	adviceInstall = "install the InferencePool CRD of the Gateway API Inference Extension, or select pods with an endpoint selector"
	adviceRBAC    = "let this service account get, list and watch pods and inferencepools in the pools' namespaces"
	adviceSlices  = "let this service account get, list and watch endpointslices of group discovery.k8s.io in the namespaces of the Services"
	adviceAway    = "until the API server answers, the last known endpoints stay in use"
)

// WatchErrors logs why the cluster cannot be followed: once when that begins or
// changes, and again every ten minutes while it lasts. Its Handle is a cache's
// DefaultWatchErrorHandler.
type WatchErrors struct {
	log *slog.Logger
	now func() time.Time

	mu   sync.Mutex
	last map[string]said // by type
}

type said struct {
	advice string
	at     time.Time
}

// repeat is the time after which a lasting problem is logged again.
const repeat = 10 * time.Minute

// NewWatchErrors returns one that writes to log. now is the clock; nil means
// time.Now.
func NewWatchErrors(log *slog.Logger, now func() time.Time) *WatchErrors {
	if now == nil {
		now = time.Now
	}
	return &WatchErrors{log: log, now: now, last: map[string]said{}}
}

// Handle logs that a list or a watch failed. It will be tried again.
func (e *WatchErrors) Handle(_ context.Context, r *toolscache.Reflector, err error) {
	e.handle(r.TypeDescription(), err)
}

func (e *WatchErrors) handle(what string, err error) {
	advice := ""
	switch {
	case apierrors.IsResourceExpired(err), apierrors.IsGone(err), errors.Is(err, io.EOF):
		// Part of an ordinary life: a watch that is too old, or was closed.
		e.log.Debug("a watch ended and is begun anew", "of", what, "error", err)
		return
	case apierrors.IsNotFound(err):
		advice = adviceInstall
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		if advice = adviceRBAC; strings.Contains(what, "EndpointSlice") {
			advice = adviceSlices
		}
	default:
		advice = adviceAway
	}
	now := e.now()
	e.mu.Lock()
	last, known := e.last[what]
	again := known && last.advice == advice && now.Sub(last.at) < repeat
	if !again {
		e.last[what] = said{advice, now}
	}
	e.mu.Unlock()
	if !again {
		e.log.Error("the cluster cannot be followed", "of", what, "error", err, "advice", advice)
	}
}
