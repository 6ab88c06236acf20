package file

import (
	"bytes"
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
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
	debounce, poll := l.Debounce, l.Poll
	if debounce <= 0 {
		debounce = 100 * time.Millisecond
	}
	if poll <= 0 {
		poll = 10 * time.Second
	}
	w := watched{loader: l, path: path, tell: f}
	var events chan fsnotify.Event
	var errs chan error
	// Without notifications, for lack of inotify instances for example, polling
	// has to do.
	notify, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = notify.Close() }()
		events, errs = notify.Events, notify.Errors
		w.notify = notify
	} else {
		poll = min(poll, 2*time.Second)
	}
	w.follow()
	w.check(ctx)
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-events:
			if !ok {
				events = nil
				continue
			}
			// From the first event on, so that steady traffic in the directory
			// delays nothing. If the change is not complete by then, the events
			// that complete it come later and lead back here.
			if settled == nil {
				settled = time.After(debounce)
			}
		case _, ok := <-errs: // lost events: look
			if !ok {
				errs = nil
				continue
			}
			if settled == nil {
				settled = time.After(debounce)
			}
		case <-settled:
			settled = nil
			w.follow()
			w.check(ctx)
		case <-ticker.C:
			w.follow()
			w.check(ctx)
		}
	}
}

// watched is a file under watch and what was last said about it.
type watched struct {
	loader *Loader
	path   string
	tell   func(*Config, error)
	notify *fsnotify.Watcher // nil when there is none
	dirs   [2]string

	last    []byte
	lastErr string
	good    bool // last was parsed without error
}

// follow watches the directories in which the file and what it links to are: a
// watch on the file itself would stay on the old one after a rename.
func (w *watched) follow() {
	if w.notify == nil {
		return
	}
	dirs := [2]string{filepath.Dir(w.path)}
	if target, err := filepath.EvalSymlinks(w.path); err == nil {
		dirs[1] = filepath.Dir(target)
	}
	for i, dir := range dirs {
		if dir != "" {
			// Adding again is harmless, and needed after the directory was replaced.
			_ = w.notify.Add(dir)
		}
		if old := w.dirs[i]; old != "" && old != dirs[0] && old != dirs[1] {
			_ = w.notify.Remove(old)
		}
	}
	w.dirs = dirs
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
