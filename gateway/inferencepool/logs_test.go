package inferencepool

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// eventLog keeps events, and passes them on.
type eventLog struct {
	mu  sync.Mutex
	all []string
	to  events.EventRecorder // or nil
}

func (l *eventLog) Eventf(regarding, related runtime.Object, kind, reason, action, note string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, g := regarding.(client.Object), related.(client.Object)
	l.all = append(l.all, fmt.Sprintf("%s/%s %s %s %s", r.GetNamespace(), r.GetName(), g.GetName(), kind, reason))
	if l.to != nil {
		l.to.Eventf(regarding, related, kind, reason, action, note, args...)
	}
}

// writeLog counts the status writes that controllers tried, by object.
type writeLog struct {
	mu sync.Mutex
	n  map[string]int
}

func (l *writeLog) of(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n[name]
}

// counted is a client whose status patches are counted.
type counted struct {
	client.Client
	log *writeLog
}

func (c counted) Status() client.SubResourceWriter {
	return countedStatus{c.Client.Status(), c.log}
}

type countedStatus struct {
	client.SubResourceWriter
	log *writeLog
}

func (c countedStatus) Patch(ctx context.Context, o client.Object, p client.Patch, options ...client.SubResourcePatchOption) error {
	c.log.mu.Lock()
	c.log.n[client.ObjectKeyFromObject(o).String()]++
	c.log.mu.Unlock()
	return c.SubResourceWriter.Patch(ctx, o, p, options...)
}

// of are the events about one pool.
func (l *eventLog) of(pool string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var of []string
	for _, e := range l.all {
		if rest, ok := strings.CutPrefix(e, pool+" "); ok {
			of = append(of, rest)
		}
	}
	return of
}
