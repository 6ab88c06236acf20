package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/pool/kube"
)

// clusterFlags are the flags that say which endpoints of a cluster are picked from.
type clusterFlags struct {
	poolName, poolNamespace, poolGroup string
	selector                           string
	targetPorts                        []int
	allPools                           bool
	pools                              []string
	service                            string
	kubeconfig                         string
	leaderElection                     bool
}

// serviceAccountNamespace is where a pod finds the name of its namespace.
const serviceAccountNamespace = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// ownNamespace is the namespace of this process, "default" outside of a cluster.
func ownNamespace() string {
	for _, name := range []string{"NAMESPACE", "POD_NAMESPACE"} {
		if n := os.Getenv(name); n != "" {
			return n
		}
	}
	if b, err := os.ReadFile(serviceAccountNamespace); err == nil && len(b) > 0 {
		return strings.TrimSpace(string(b))
	}
	return "default"
}

func (c *clusterFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&c.poolName, "pool-name", "", "`name` of the InferencePool; of a file's only pool, where the endpoints come from a file")
	fs.StringVar(&c.poolNamespace, "pool-namespace", ownNamespace(), "`namespace` of the pool: $NAMESPACE or $POD_NAMESPACE, then the pod's own")
	fs.StringVar(&c.poolGroup, "pool-group", kube.Group, "API group of InferencePool")
	known(fs, "pool-group", kube.Groups())
	fs.StringVar(&c.selector, "endpoint-selector", "", "`labels` of the pods to pick, as in app=llama; instead of an InferencePool")
	fs.IntSliceVar(&c.targetPorts, "endpoint-target-ports", nil, "ports of the pods of --endpoint-selector, 1 to 8 of them")
	fs.BoolVar(&c.allPools, "all-pools", false, "serve every InferencePool of the cluster, or with --service-name those that name it")
	fs.StringSliceVar(&c.pools, "pools", nil, "serve the InferencePools of these `names`, as namespace/name")
	fs.StringVar(&c.service, "service-name", "", "`name` of the Service by which pools' endpointPickerRef names this picker; the ports they name are served, too")
	fs.StringVar(&c.kubeconfig, "kubeconfig", "", kubeconfigUsage)
	fs.BoolVar(&c.leaderElection, "ha-enable-leader-election", false, "of several replicas, let one be ready")
}

// used tells whether the flags name endpoints of a cluster.
func (c *clusterFlags) used() bool {
	return c.poolName != "" || c.selector != "" || c.allPools || len(c.pools) > 0
}

// validate reports everything that is wrong. file is true when a flag names a file
// with the endpoints; then --pool-name only names its pool.
func (c *clusterFlags) validate(file bool) []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	var sources []string
	for _, s := range []struct {
		name string
		set  bool
	}{
		{"--endpoint-selector", c.selector != ""}, {"--all-pools", c.allPools}, {"--pools", len(c.pools) > 0},
		{"--pool-name", c.poolName != "" && c.selector == "" && !file}, {"a file of endpoints", file},
	} {
		if s.set {
			sources = append(sources, s.name)
		}
	}
	if len(sources) > 1 {
		bad("%s: each says where the endpoints are; use only one", strings.Join(sources, ", "))
	}
	if c.poolGroup != "" && !slices.Contains(kube.Groups(), c.poolGroup) {
		bad("--pool-group: %.60q must be %s", c.poolGroup, anyOf(kube.Groups()))
		return errs
	}
	if len(c.targetPorts) > 0 && c.selector == "" {
		bad("--endpoint-target-ports: are those of --endpoint-selector, which is missing; an InferencePool has its own")
	}
	if c.service != "" && !c.allPools && len(c.pools) == 0 {
		bad("--service-name: is of use with --all-pools or --pools only")
	}
	if c.leaderElection && file {
		bad("--ha-enable-leader-election: needs a cluster, and the endpoints come from a file; leave it out")
	}
	if c.used() && !file {
		if s, err := c.scope(); err != nil {
			errs = append(errs, err)
		} else if err := s.Validate(); err != nil {
			bad("%s: %w", strings.Join(sources, ", "), err)
		}
	}
	return errs
}

// scope is what the flags select.
func (c *clusterFlags) scope() (kube.Scope, error) {
	s := kube.Scope{Group: c.poolGroup}
	switch {
	case c.selector != "":
		selector, err := labels.Parse(c.selector)
		if err != nil {
			return s, fmt.Errorf("--endpoint-selector: %w", err)
		}
		if len(c.targetPorts) == 0 {
			return s, fmt.Errorf("--endpoint-target-ports: there are 0; name 1 to %d, as in --endpoint-target-ports 8000", kube.MaxPorts)
		}
		s.Selector = &kube.SelectorPool{Name: c.name(), Selector: selector}
		for _, p := range c.targetPorts {
			if p < 1 || p > 65535 {
				return s, fmt.Errorf("--endpoint-target-ports: %d is no port", p)
			}
			if port := int32(p); !slices.Contains(s.Selector.Ports, port) {
				s.Selector.Ports = append(s.Selector.Ports, port)
			}
		}
	case len(c.pools) > 0:
		for _, p := range c.pools {
			namespace, name, ok := strings.Cut(p, "/")
			if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
				return s, fmt.Errorf("--pools: %q must be namespace/name", p)
			}
			s.Pools = append(s.Pools, types.NamespacedName{Namespace: namespace, Name: name})
		}
	case c.allPools:
	case c.poolName != "":
		s.Pools = []types.NamespacedName{c.name()}
	default:
		return s, errors.New("no pool is named")
	}
	return s, nil
}

// name is the only pool's name.
func (c *clusterFlags) name() types.NamespacedName {
	n := types.NamespacedName{Namespace: c.poolNamespace, Name: c.poolName}
	if n.Name == "" {
		n.Name = "endpoints"
	}
	return n
}

// single tells whether there is only one pool, by name.
func (c *clusterFlags) single() bool { return !c.allPools && len(c.pools) == 0 }

// lease is where replicas agree on a leader.
func (c *clusterFlags) lease() types.NamespacedName {
	n := types.NamespacedName{Namespace: c.poolNamespace, Name: "fairway-epp"}
	switch {
	case c.single():
		n.Name += "-" + c.name().Name
	case c.service != "":
		n.Name += "-" + c.service
	}
	return n
}
