package controller

import (
	"context"
	"maps"
	"reflect"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/airoute/kube"
)

// request is an object to look at. An HTTPRoute is one that sends to AIBackends.
type request struct {
	kind kube.Kind
	types.NamespacedName
}

// queue says what to look at. It is safe for concurrent use, and none of its methods
// blocks.
type queue struct {
	mu     sync.Mutex
	to     workqueue.TypedRateLimitingInterface[request] // nil before the start
	newest *airoute.Result                               // or nil
}

// start is a controller's source. Whatever happened before is looked at now.
func (q *queue) start(_ context.Context, to workqueue.TypedRateLimitingInterface[request]) error {
	q.mu.Lock()
	q.to = to
	q.mu.Unlock()
	q.all()
	return nil
}

func (q *queue) add(requests ...request) {
	q.mu.Lock()
	to := q.to
	q.mu.Unlock()
	if to == nil {
		return
	}
	for _, r := range requests {
		to.Add(r)
	}
}

// all adds everything that there is.
func (q *queue) all() {
	q.mu.Lock()
	r := q.newest
	q.mu.Unlock()
	if r != nil {
		q.add(different(&airoute.Result{}, r)...)
	}
}

// changed adds what is different in a new result.
func (q *queue) changed(r *airoute.Result) {
	q.mu.Lock()
	old := q.newest
	q.newest = r
	q.mu.Unlock()
	if old == nil {
		old = &airoute.Result{}
	}
	q.add(different(old, r)...)
}

// object adds what an object's change may matter to: an AIRoute or AIBackend itself,
// the AIRoute of an HTTPRoute's name, and an HTTPRoute that sends to AIBackends.
func (q *queue) object(k kube.Kind, name types.NamespacedName) {
	switch k {
	case kube.AIAccessPolicy:
		return // see package accesspolicy/controller
	case kube.HTTPRoute:
		q.mu.Lock()
		r := q.newest
		q.mu.Unlock()
		switch {
		case r != nil && r.Routes[name] != nil:
			k = kube.AIRoute
		case r == nil || r.Direct[name] == nil:
			return
		}
	}
	q.add(request{k, name})
}

// different are the objects of which two results say different things.
func different(old, new *airoute.Result) []request {
	var requests []request
	requests = appendDifferent(requests, kube.AIBackend, old.Backends, new.Backends)
	requests = appendDifferent(requests, kube.AIRoute, old.Routes, new.Routes)
	return appendDifferent(requests, kube.HTTPRoute, old.Direct, new.Direct)
}

func appendDifferent[T any](to []request, k kube.Kind, old, new map[types.NamespacedName]*T) []request {
	for name, r := range new {
		if before := old[name]; before == nil || !reflect.DeepEqual(before, r) {
			to = append(to, request{k, name})
		}
	}
	for name := range maps.Keys(old) {
		if new[name] == nil {
			to = append(to, request{k, name})
		}
	}
	return to
}

// parse splits "namespace/name".
func parse(s string) (types.NamespacedName, bool) {
	namespace, name, ok := strings.Cut(s, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}, ok && namespace != "" && name != ""
}
