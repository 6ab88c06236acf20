package cluster

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	airoutekube "github.com/fairway-ai/fairway/gateway/airoute/kube"
	"github.com/fairway-ai/fairway/gateway/eds"
	"github.com/fairway-ai/fairway/gateway/refs"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/pool/kube"
)

// newManager makes the cache that all parts share. Leadership is not the manager's
// affair, see leader.
func newManager(o *Options) (manager.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, discoveryv1.AddToScheme, kube.AddToScheme, gatewayv1.Install, gatewayv1beta1.Install, v1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("types of the cluster: %w", err)
		}
	}
	options := kube.CacheOptions(kube.Scope{})
	if options.ByObject == nil {
		options.ByObject = map[client.Object]cache.ByObject{}
	}
	options.ByObject[&discoveryv1.EndpointSlice{}] = cache.ByObject{
		Namespaces: map[string]cache.Config{o.Namespace: {}},
	}
	options.ByObject[&corev1.Service{}] = cache.ByObject{Transform: stripService}
	if o.Egress.Enabled {
		maps.Copy(options.ByObject, airoutekube.CacheOptions(o.Egress.SecretNamespaces...))
	}
	options.DefaultTransform = cache.TransformStripManagedFields()
	options.DefaultWatchErrorHandler = kube.NewWatchErrors(o.Log, nil).Handle
	m, err := ctrl.NewManager(o.Config, manager.Options{
		Scheme:  scheme,
		Cache:   options,
		Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{
			// Waiting for a definition or for permission is not a reason to end.
			CacheSyncTimeout: 365 * 24 * time.Hour,
			// There is one manager in a process, but in tests.
			SkipNameValidation: ptr.To(true),
		},
		MapperProvider: func(c *rest.Config, h *http.Client) (meta.RESTMapper, error) {
			next, err := apiutil.NewDynamicRESTMapper(c, h)
			if err != nil {
				return nil, fmt.Errorf("types of the cluster: %w", err)
			}
			return kube.Mapper(next), nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("the cluster: %w", err)
	}
	return m, nil
}

// stripService keeps of a Service what a picker's address and status need.
func stripService(obj any) (any, error) {
	s, ok := obj.(*corev1.Service)
	if !ok {
		return obj, nil
	}
	return &corev1.Service{
		TypeMeta: s.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{
			Name: s.Name, Namespace: s.Namespace, UID: s.UID,
			ResourceVersion: s.ResourceVersion, Generation: s.Generation,
		},
		Spec: corev1.ServiceSpec{Type: s.Spec.Type, ClusterIP: s.Spec.ClusterIP, Ports: s.Spec.Ports},
	}, nil
}

// watch follows pools, their pods, their pickers' Services and the process's own
// replicas.
func (g *gateway) watch(ctx context.Context) error {
	o := &g.o
	informers := g.manager.GetCache()
	if err := refs.SetupIndexes(ctx, g.manager.GetFieldIndexer()); err != nil {
		return fmt.Errorf("indexes: %w", err)
	}
	p := newPools()
	p.endpoints, p.own, p.foreign = g.eds, g.set, g.relay
	p.gone = g.pickers.forget
	p.domain, p.timeout, p.log = o.ClusterDomain, o.PickerTimeout, o.Log
	p.service = func(name types.NamespacedName) *corev1.Service {
		var svc corev1.Service
		if err := informers.Get(ctx, name, &svc); err != nil {
			if !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err) {
				o.Log.Warn("a Service could not be read", "service", name.String(), "error", err)
			}
			return nil
		}
		return &svc
	}
	var err error
	g.watcher, err = kube.New(informers, kube.Options{OnSynced: func() { g.eds.Ready(); close(g.synced) }, Log: o.Log}, p)
	if err != nil {
		return err
	}
	services, err := informers.GetInformer(ctx, &corev1.Service{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watch Services: %w", err)
	}
	changed := func(obj any) {
		if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if svc, ok := obj.(*corev1.Service); ok {
			p.serviceChanged(client.ObjectKeyFromObject(svc))
		}
	}
	_, err = services.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: changed, UpdateFunc: func(_, obj any) { changed(obj) }, DeleteFunc: changed,
	})
	if err != nil {
		return fmt.Errorf("watch Services: %w", err)
	}
	r := &replicas{cache: informers, namespace: o.Namespace, service: o.Service, log: o.Log}
	r.set = func(slices []discoveryv1.EndpointSlice) {
		assignment := eds.Replicas(slices, grpcPortName)
		if o.Spread {
			assignment = eds.AllReplicas(slices, grpcPortName)
		}
		g.eds.Set(xds.PickerClusterName, assignment)
	}
	return r.watch(ctx)
}

// grpcPortName is the Service's port that Envoy calls.
const grpcPortName = "grpc"
