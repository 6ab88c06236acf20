package filewatch

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options configure [Watch]; the zero value is ready to use.
type Options struct {
	// Debounce is how long to wait after a change for the change to be complete; 0
	// means 100 ms.
	Debounce time.Duration
	// Poll is how often to look although nothing was notified, for file systems that
	// notify nothing; 0 means 10 s.
	Poll time.Duration
}

// Watch calls look at the start, and then whenever the file may have changed, until
// ctx ends. Calls come one at a time, from this goroutine.
func Watch(ctx context.Context, path string, o Options, look func()) {
	debounce, poll := o.Debounce, o.Poll
	if debounce <= 0 {
		debounce = 100 * time.Millisecond
	}
	if poll <= 0 {
		poll = 10 * time.Second
	}
	w := watched{path: path}
	var events chan fsnotify.Event
	var errs chan error
	// Without notifications, for lack of inotify instances for example, polling has
	// to do.
	notify, err := fsnotify.NewWatcher()
	if err == nil {
		defer func() { _ = notify.Close() }()
		events, errs = notify.Events, notify.Errors
		w.notify = notify
	} else {
		poll = min(poll, 2*time.Second)
	}
	w.follow()
	look()
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	var settled <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				events = nil
				continue
			}
		case _, ok := <-errs: // lost events: look
			if !ok {
				errs = nil
				continue
			}
		case <-settled:
			settled = nil
			w.follow()
			look()
			continue
		case <-ticker.C:
			w.follow()
			look()
			continue
		}
		// From the first event on, so that steady traffic in the directory delays
		// nothing. If the change is not complete by then, the events that complete it
		// come later and lead back here.
		if settled == nil {
			settled = time.After(debounce)
		}
	}
}

// watched is a file under watch.
type watched struct {
	path   string
	notify *fsnotify.Watcher // nil when there is none
	dirs   [2]string
}

// follow watches the directories in which the file and what it links to are: a watch
// on the file itself would stay on the old one after a rename.
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
