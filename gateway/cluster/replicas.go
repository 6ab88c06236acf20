package cluster

import (
	"context"
	"fmt"
	"log/slog"

	discoveryv1 "k8s.io/api/discovery/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// replicas tells Envoy which replicas of this process there are, so that it asks the
// same one as long as that is there: its account of what is in flight is complete
// then.
type replicas struct {
	cache     cache.Cache
	namespace string
	service   string
	// set makes an assignment of the replicas' EndpointSlices known to Envoy.
	set func([]discoveryv1.EndpointSlice)
	log *slog.Logger
}

// watch follows the EndpointSlices of the process's own Service.
func (r *replicas) watch(ctx context.Context) error {
	informer, err := r.cache.GetInformer(ctx, &discoveryv1.EndpointSlice{})
	if err != nil {
		return fmt.Errorf("watch EndpointSlices: %w", err)
	}
	changed := func() { r.update(ctx) }
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	})
	if err != nil {
		return fmt.Errorf("watch EndpointSlices: %w", err)
	}
	return nil
}

func (r *replicas) update(ctx context.Context) {
	var list discoveryv1.EndpointSliceList
	err := r.cache.List(ctx, &list, client.InNamespace(r.namespace), client.MatchingLabels{discoveryv1.LabelServiceName: r.service})
	if err != nil {
		r.log.Warn("the replicas of the gateway are not known", "error", err)
		return
	}
	r.set(list.Items)
}
