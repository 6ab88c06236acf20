package eds

import (
	"sync"

	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// patient is a linear cache that says nothing of what it does not know, and that
// does not let a stream ask for too much of that.
type patient struct {
	*cache.LinearCache
	known        *sync.Map // the names in the cache; read without its lock
	maxUnknown   int
	maxNameBytes int
}

// CreateWatch implements cache.ConfigWatcher for the state-of-the-world form.
func (p *patient) CreateWatch(r *cache.Request, s cache.Subscription, to chan cache.Response) (func(), error) {
	if err := p.check(s); err != nil {
		return nil, err
	}
	if r.GetVersionInfo() == "" {
		// The cache answers a request without a version at once, also with nothing,
		// which a new cluster takes for "no endpoints".
		r = proto.CloneOf(r)
		r.VersionInfo = "none"
	}
	return p.LinearCache.CreateWatch(r, s, to)
}

// CreateDeltaWatch implements cache.ConfigWatcher for the incremental form.
func (p *patient) CreateDeltaWatch(r *cache.DeltaRequest, s cache.Subscription, to chan cache.DeltaResponse) (func(), error) {
	if err := p.check(s); err != nil {
		return nil, err
	}
	return p.LinearCache.CreateDeltaWatch(r, remembering{s, p.known}, to)
}

func (p *patient) check(s cache.Subscription) error {
	unknown := 0
	for name := range s.SubscribedResources() {
		if _, ok := p.known.Load(name); ok {
			continue
		}
		unknown++
		if len(name) > p.maxNameBytes {
			return status.Errorf(codes.InvalidArgument, "the name of a resource has %d bytes; at most %d are allowed", len(name), p.maxNameBytes)
		}
	}
	if unknown > p.maxUnknown {
		return status.Errorf(codes.ResourceExhausted, "the stream asks for %d unknown resources; at most %d are allowed", unknown, p.maxUnknown)
	}
	return nil
}

// remembering is a subscription whose client has only what the cache has too.
// Otherwise the cache would tell it to remove the rest.
type remembering struct {
	cache.Subscription
	known *sync.Map
}

// ReturnedResources implements cache.Subscription.
func (r remembering) ReturnedResources() map[string]string {
	all := r.Subscription.ReturnedResources()
	known := make(map[string]string, len(all))
	for name, version := range all {
		if _, ok := r.known.Load(name); ok {
			known[name] = version
		}
	}
	return known
}
