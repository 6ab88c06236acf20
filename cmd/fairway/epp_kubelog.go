package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

// useLogger makes the Kubernetes libraries, which log globally, log to log: what
// they tell of themselves as debug messages, their errors as warnings, and none of
// them more than once a minute.
func useLogger(log *slog.Logger) {
	l := logr.FromSlogHandler(&libraryHandler{Handler: log.Handler(), now: time.Now, said: &saidOnce{at: map[string]time.Time{}}})
	klog.SetLogger(l)
	ctrllog.SetLogger(l)
}

// libraryHandler lowers the level of a library's messages and drops repetitions.
type libraryHandler struct {
	slog.Handler
	now  func() time.Time
	said *saidOnce
}

// saidOnce remembers what was logged when.
type saidOnce struct {
	mu sync.Mutex
	at map[string]time.Time
}

const (
	saidAgain = time.Minute
	maxSaid   = 1000
)

// Enabled implements slog.Handler.
func (h *libraryHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, lowered(level))
}

// lowered is the level at which a library's message is logged.
func lowered(level slog.Level) slog.Level {
	if level >= slog.LevelError {
		return slog.LevelWarn
	}
	return slog.LevelDebug + min(0, level) // V(1) is less than V(0)
}

// Handle implements slog.Handler.
func (h *libraryHandler) Handle(ctx context.Context, r slog.Record) error {
	r.Level = lowered(r.Level)
	if !h.said.first(r.Message, h.now()) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// first tells whether a message was not logged a short time ago.
func (s *saidOnce) first(message string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.at[message]; ok && now.Sub(at) < saidAgain {
		return false
	}
	if len(s.at) >= maxSaid {
		clear(s.at)
	}
	s.at[message] = now
	return true
}

// WithAttrs implements slog.Handler.
func (h *libraryHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &libraryHandler{Handler: h.Handler.WithAttrs(attrs), now: h.now, said: h.said}
}

// WithGroup implements slog.Handler.
func (h *libraryHandler) WithGroup(name string) slog.Handler {
	return &libraryHandler{Handler: h.Handler.WithGroup(name), now: h.now, said: h.said}
}
