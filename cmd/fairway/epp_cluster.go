package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"golang.org/x/sync/errgroup"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/pool/kube"
)

// restConfig finds the API server: the file, KUBECONFIG, or the pod's own.
func restConfig(kubeconfig string) (*rest.Config, error) {
	var config *rest.Config
	var err error
	from := "the pod's own credentials"
	if kubeconfig == "" && os.Getenv(clientcmd.RecommendedConfigPathEnvVar) == "" {
		config, err = rest.InClusterConfig()
		if errors.Is(err, rest.ErrNotInCluster) {
			return nil, errors.New("there is no cluster: this is no pod of one, and neither --kubeconfig nor $KUBECONFIG names a file; name it with --kubeconfig")
		}
	} else {
		from = "$KUBECONFIG"
		if kubeconfig != "" {
			from = "--kubeconfig"
		}
		rules := clientcmd.NewDefaultClientConfigLoadingRules()
		rules.ExplicitPath = kubeconfig
		config, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	}
	if clientcmd.IsEmptyConfig(err) { // as client-go says of a file that does not exist
		return nil, fmt.Errorf("%s: names no kubeconfig with a current context", from)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	config.UserAgent = "fairway/" + version
	// Two watches and, now and then, a lease: no need to be slowed down.
	config.QPS, config.Burst = 50, 100
	return config, nil
}

// follower keeps the pools in line with a cluster.
type follower struct {
	flags  *clusterFlags
	config *rest.Config
	pools  *eppPools
	ready  *readiness
	log    *slog.Logger
	run    []func(context.Context) error
	// beside runs, too; what it follows may be missing.
	beside func(context.Context) error
}

// newFollower prepares what run does. It does not contact the cluster.
func newFollower(c *clusterFlags, config *rest.Config, set *epp.PoolSet, server *epp.Server, log *slog.Logger) (*follower, error) {
	scope, err := c.scope()
	if err != nil {
		return nil, err
	}
	cache, err := kube.NewCache(config, scope, kube.NewWatchErrors(log, nil))
	if err != nil {
		return nil, err
	}
	f := &follower{flags: c, config: config, log: log}
	f.ready = &readiness{set: server.SetReady, leading: !c.leaderElection}
	f.pools = newEPPPools(set, f.ready, log)
	f.pools.service = c.service
	if c.single() {
		f.pools.only = c.name()
	} else {
		f.pools.ports = server.SetPorts
	}
	watcher, err := kube.New(cache, kube.Options{Scope: scope, OnSynced: f.pools.synced, Log: log}, f.pools)
	if err != nil {
		return nil, err
	}
	f.run = append(f.run, cache.Start, watcher.Run)
	return f, nil
}

// Run follows the cluster until ctx ends. campaigning ends when this replica must
// no longer want to lead, which is before ctx does.
func (f *follower) Run(ctx, campaigning context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range f.run {
		group.Go(func() error { return run(ctx) })
	}
	if f.beside != nil {
		group.Go(func() error { return f.beside(ctx) })
	}
	if f.flags.leaderElection {
		elector, err := f.elector()
		if err != nil {
			return err
		}
		campaign, end := context.WithCancel(campaigning)
		defer end()
		defer context.AfterFunc(ctx, end)()
		group.Go(func() error {
			for campaign.Err() == nil {
				// Returns when the lease is lost; then it stands for election anew.
				elector.Run(campaign)
			}
			return nil
		})
	}
	return group.Wait()
}

// Times of the leader election: a leader that died is replaced after leaseDuration.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// elector stands for election. A leader that cannot renew its lease stays ready
// until another one has it: while the API server is away nobody else can take over,
// and two pickers at once do no harm.
func (f *follower) elector() (*leaderelection.LeaderElector, error) {
	client, err := kubernetes.NewForConfig(f.config)
	if err != nil {
		return nil, fmt.Errorf("leader election: %w", err)
	}
	host, _ := os.Hostname() // the rest of the identity is unique by itself
	identity := host + "_" + uuid.NewString()
	lease := f.flags.lease()
	var e *leaderelection.LeaderElector
	// Callbacks come from goroutines of their own, in any order, so each looks anew.
	look := func() {
		f.ready.change(func() {
			switch leader := e.GetLeader(); {
			case leader == "" || (leader == identity) == f.ready.leading:
			case leader == identity:
				f.log.Info("this replica leads", "lease", lease.String())
				f.ready.leading = true
			default:
				f.log.Info("another replica leads", "lease", lease.String(), "leader", leader)
				f.ready.leading = false
			}
		})
	}
	e, err = leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: lease.Namespace, Name: lease.Name},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { look() },
			OnStoppedLeading: func() {},
			OnNewLeader:      func(string) { look() },
		},
	})
	if err != nil {
		return nil, fmt.Errorf("leader election: %w", err)
	}
	return e, nil
}
