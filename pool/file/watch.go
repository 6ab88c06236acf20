package file

import (
	"bytes"
	"context"

	"github.com/fairway-ai/fairway/internal/filewatch"
)

// Watch reads a file with the zero [Loader] until ctx ends.
func Watch(ctx context.Context, path string, f func(*Config, error)) error {
	return new(Loader).Watch(ctx, path, f)
}

// Watch reads the file and calls f with the result: once at the start, then after
// every change, whether the file was written, replaced by a rename, or reached
// through a symbolic link that was swapped, as in a mounted ConfigMap. After a bad
// edit f gets the error, once, and no configuration: the last good one stays in
// force. Calls come one at a time, from this goroutine. Watch returns nil when
// ctx ends.
func (l *Loader) Watch(ctx context.Context, path string, f func(*Config, error)) error {
	w := watched{loader: l, path: path, tell: f}
	filewatch.Watch(ctx, path, filewatch.Options{Debounce: l.Debounce, Poll: l.Poll}, func() { w.check(ctx) })
	return nil
}

// watched is a file under watch and what was last said about it.
type watched struct {
	loader *Loader
	path   string
	tell   func(*Config, error)

	last    []byte
	lastErr string
	good    bool // last was parsed without error
}

// check reads the file and tells what is new.
func (w *watched) check(ctx context.Context) {
	data, err := readFile(w.path)
	var c *Config
	if err == nil {
		// A bad file is tried again: its host names may resolve now.
		if w.good && bytes.Equal(data, w.last) {
			return
		}
		c, err = w.loader.Parse(ctx, w.path, data)
	}
	if ctx.Err() != nil {
		return
	}
	w.last, w.good = data, err == nil
	if err == nil {
		w.lastErr = ""
		w.tell(c, nil)
		return
	}
	if text := err.Error(); text != w.lastErr {
		w.lastErr = text
		w.tell(nil, err)
	}
}
