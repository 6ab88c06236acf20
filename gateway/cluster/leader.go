package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// leader says which replica writes status. A replica that cannot reach the API
// server loses the lease and goes on serving Envoy; that is why it is not the
// manager's own election, which ends the process then.
type leader struct {
	held    atomic.Bool
	elected func() // called after each election won
	log     *slog.Logger
	config  leaderelection.LeaderElectionConfig
}

// Lease times, in the proportions that client-go recommends.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second
)

// leaseName is the name of the Lease in the process's own namespace.
const leaseName = "fairway-gateway"

// newLeader prepares to compete for the lease as identity, which is unique to the
// replica.
func newLeader(client kubernetes.Interface, namespace, identity string, elected func(), log *slog.Logger) *leader {
	l := &leader{elected: elected, log: log}
	l.config = leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Name: leaseName, Namespace: namespace},
			Client:     client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: identity},
		},
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		ReleaseOnCancel: true,
		Name:            leaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { l.set(true) },
			OnStoppedLeading: func() { l.set(false) },
		},
	}
	return l
}

func (l *leader) set(held bool) {
	if l.held.Swap(held) == held {
		return
	}
	l.log.Info("leadership of status writing", "leader", held)
	if held {
		l.elected()
	}
}

// Leads says whether this replica writes status now.
func (l *leader) Leads() bool { return l.held.Load() }

// Run competes for the lease until ctx ends, and gives it back then.
func (l *leader) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		e, err := leaderelection.NewLeaderElector(l.config)
		if err != nil {
			return fmt.Errorf("leader election: %w", err)
		}
		e.Run(ctx) // until the lease is lost
		select {
		case <-ctx.Done():
		case <-time.After(retryPeriod):
		}
	}
	return nil
}
