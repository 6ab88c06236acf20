// Package logs builds the process's structured logger from command-line flags.
// It knows nothing of what is logged. Callers: cmd/fairway.
package logs

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Options are the logging flags.
type Options struct {
	// JSON selects JSON lines instead of key=value text.
	JSON bool
	// Level is debug, info, warn or error.
	Level string
}

// Levels are the names of the levels, the most talkative first.
func Levels() []string { return []string{"debug", "info", "warn", "error"} }

// New returns a logger that writes to w.
func New(w io.Writer, o Options) (*slog.Logger, error) {
	var level slog.Level
	switch strings.ToLower(o.Level) {
	case "", "info":
		level = slog.LevelInfo
	case "debug":
		level = slog.LevelDebug
	case "warn", "warning":
		level = slog.LevelWarn
	case "error":
		level = slog.LevelError
	default:
		return nil, fmt.Errorf("%.60q must be one of %s", o.Level, strings.Join(Levels(), ", "))
	}
	h := &slog.HandlerOptions{Level: level}
	if o.JSON {
		return slog.New(slog.NewJSONHandler(w, h)), nil
	}
	return slog.New(slog.NewTextHandler(w, h)), nil
}
