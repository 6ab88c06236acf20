package gaie

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// Version is the version of the Gateway API Inference Extension whose suite this is.
	Version = "1.6.0"
	// GatewayAPIVersion is the version of the Gateway API that the suite wants.
	GatewayAPIVersion = "1.6.1"

	// checkTimeout bounds each question to the cluster.
	checkTimeout = 10 * time.Second
	gatewayGroup = "gateway.networking.k8s.io"
	poolGroup    = "inference.networking.k8s.io"
)

// CheckCluster asks the cluster for what the suite needs before any test can run: an
// answer, the CRDs and the GatewayClass. The error names what is missing, and what to do.
func CheckCluster(ctx context.Context, o Options) error {
	config, from, err := clusterConfig(o.Kubeconfig)
	if err != nil {
		return err
	}
	config.Timeout = checkTimeout
	// rest.Config's warnings are of no help here.
	config.WarningHandler = rest.NoWarnings{}
	apis, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if _, err := apis.ServerVersion(); err != nil {
		return unanswered(config, from, err)
	}
	for _, want := range []struct{ group, resource, fix string }{
		{gatewayGroup, "gatewayclasses", "install the Gateway API's CRDs " + GatewayAPIVersion},
		{gatewayGroup, "gateways", "install the Gateway API's CRDs " + GatewayAPIVersion},
		{gatewayGroup, "httproutes", "install the Gateway API's CRDs " + GatewayAPIVersion},
		{poolGroup, "inferencepools", "install the Gateway API Inference Extension's CRDs " + Version},
	} {
		list, err := apis.ServerResourcesForGroupVersion(want.group + "/v1")
		if err != nil && !apierrors.IsNotFound(err) {
			return unanswered(config, from, err)
		}
		if err != nil || !slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == want.resource }) {
			return fmt.Errorf("the cluster at %s has no %s.%s of version v1: %s", config.Host, want.resource, want.group, want.fix)
		}
	}
	return checkClass(ctx, config, from, o.GatewayClass)
}

// checkClass looks for the GatewayClass.
func checkClass(ctx context.Context, config *rest.Config, from, name string) error {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	classes := client.Resource(schema.GroupVersionResource{Group: gatewayGroup, Version: "v1", Resource: "gatewayclasses"})
	_, err = classes.Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return unanswered(config, from, err)
	}
	there := "it has none"
	if list, err := classes.List(ctx, metav1.ListOptions{Limit: 20}); err == nil && len(list.Items) > 0 {
		names := make([]string, len(list.Items))
		for i := range list.Items {
			names[i] = list.Items[i].GetName()
		}
		there = "it has " + strings.Join(names, ", ")
	}
	return fmt.Errorf("--gateway-class: the cluster at %s has no GatewayClass %q: %s; name the one to judge, or install the gateway", config.Host, name, there)
}

// unanswered says that the cluster gave no answer, or one that is of no use.
func unanswered(config *rest.Config, from string, err error) error {
	fix := "is it running, and is this its kubeconfig? --kubeconfig names another"
	if apierrors.IsUnauthorized(err) || apierrors.IsForbidden(err) {
		fix = "use credentials of an administrator; --kubeconfig names another file"
	}
	return fmt.Errorf("the cluster at %s, named by %s, gives no answer: %w; %s", config.Host, from, err, fix)
}

// clusterConfig finds the cluster as the suite does: by the file, by $KUBECONFIG, by the
// pod that this is, or by ~/.kube/config. from says which it was.
func clusterConfig(kubeconfig string) (config *rest.Config, from string, err error) {
	const fix = "name the cluster's with --kubeconfig or $KUBECONFIG"
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	env := os.Getenv(clientcmd.RecommendedConfigPathEnvVar)
	switch {
	case kubeconfig != "":
		from, rules.ExplicitPath = "--kubeconfig "+kubeconfig, kubeconfig
	case env != "":
		from = "$KUBECONFIG " + env
		if !slices.ContainsFunc(filepath.SplitList(env), exists) {
			return nil, from, fmt.Errorf("%s: there is no such file; %s", from, fix)
		}
	default:
		if config, err = rest.InClusterConfig(); err == nil {
			return config, "the pod's own credentials", nil
		}
		from = "~/.kube/config"
		if !slices.ContainsFunc(rules.Precedence, exists) {
			return nil, from, errors.New("there is no cluster: neither --kubeconfig nor $KUBECONFIG names its kubeconfig, this is no pod of one, and there is no ~/.kube/config; name it with --kubeconfig")
		}
	}
	config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, from, fmt.Errorf("%s: is no kubeconfig with a current context; %s", from, fix)
	case err != nil:
		return nil, from, fmt.Errorf("%s: %w; %s", from, err, fix)
	}
	return config, from, nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
