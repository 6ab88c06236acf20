package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// eventLog keeps events.
type eventLog struct {
	mu  sync.Mutex
	all []string
}

func (l *eventLog) Eventf(regarding, related runtime.Object, kind, reason, _, note string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := regarding.(client.Object)
	if g, ok := related.(client.Object); ok {
		kind = g.GetName() + " " + kind
	}
	l.all = append(l.all, fmt.Sprintf("%s/%s %s %s: %s", r.GetNamespace(), r.GetName(), kind, reason, fmt.Sprintf(note, args...)))
}

// of are the events about one object, without their text.
func (l *eventLog) of(name string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var of []string
	for _, e := range l.all {
		if rest, ok := strings.CutPrefix(e, name+" "); ok {
			rest, _, _ = strings.Cut(rest, ":")
			of = append(of, rest)
		}
	}
	return of
}

// eventsAre waits until these are the events about an object, in any order.
func (w *world) eventsAre(name string, want ...string) {
	w.Helper()
	slices.Sort(want)
	w.eventually(func() error {
		got := w.events.of(w.in(name))
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("events of %s: %q, want %q", name, got, want)
		}
		return nil
	})
}

// writeLog counts the writes that the controller tried, by kind and object.
type writeLog struct {
	mu sync.Mutex
	n  map[string]int
}

func (l *writeLog) add(o client.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n[fmt.Sprintf("%T %s", o, client.ObjectKeyFromObject(o))]++
}

// in is the number of writes of objects of a namespace, but for those of that name.
func (l *writeLog) in(namespace, but string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for key, k := range l.n {
		if strings.Contains(key, " "+namespace+"/") && !strings.HasSuffix(key, "/"+but) {
			n += k
		}
	}
	return n
}

// counted is a client whose writes are counted.
type counted struct {
	client.Client
	log *writeLog
}

func (c counted) Create(ctx context.Context, o client.Object, options ...client.CreateOption) error {
	c.log.add(o)
	return c.Client.Create(ctx, o, options...)
}

func (c counted) Delete(ctx context.Context, o client.Object, options ...client.DeleteOption) error {
	c.log.add(o)
	return c.Client.Delete(ctx, o, options...)
}

func (c counted) Patch(ctx context.Context, o client.Object, p client.Patch, options ...client.PatchOption) error {
	c.log.add(o)
	return c.Client.Patch(ctx, o, p, options...)
}

func (c counted) Status() client.SubResourceWriter { return countedStatus{c.Client.Status(), c.log} }

type countedStatus struct {
	client.SubResourceWriter
	log *writeLog
}

func (c countedStatus) Patch(ctx context.Context, o client.Object, p client.Patch, options ...client.SubResourcePatchOption) error {
	c.log.add(o)
	return c.SubResourceWriter.Patch(ctx, o, p, options...)
}

// credentials are states that tests set.
type credentials struct {
	mu  sync.Mutex
	all map[string]credentialState
}

func (c *credentials) set(backend string, s credentialState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[backend] = s
}

func (c *credentials) State(backend string) (bool, string, string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.all[backend]
	return s.ready, s.reason, s.message, s.known
}

// switchable is something that is so or not.
type switchable struct {
	mu sync.Mutex
	on bool
}

func (s *switchable) get() bool   { s.mu.Lock(); defer s.mu.Unlock(); return s.on }
func (s *switchable) set(on bool) { s.mu.Lock(); defer s.mu.Unlock(); s.on = on }
