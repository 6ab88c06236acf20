package cluster

import (
	"fmt"
	"math"

	"k8s.io/client-go/kubernetes"

	share "github.com/fairway-ai/fairway/epp/replicas"
	"github.com/fairway-ai/fairway/gateway/certs"
)

// newShare prepares the exchange with the other replicas, nil when there is none. They
// are the pods of the process's own Service, ready or not, and known by the same
// certificates as to Envoy.
func (g *gateway) newShare() (*share.Replicas, error) {
	o := &g.o
	if o.ReplicaPort == 0 {
		return nil, nil
	}
	if o.ReplicaPort < 0 || o.ReplicaPort > math.MaxUint16 {
		return nil, fmt.Errorf("replicas: %d is no port", o.ReplicaPort)
	}
	clients, err := kubernetes.NewForConfig(o.Config)
	if err != nil {
		return nil, fmt.Errorf("replicas: %w", err)
	}
	options := share.Options{
		ID: o.Identity, Listen: listenAddr(o.ReplicaPort), Registry: g.metrics.Registry(), Log: o.Log,
		Peers: &share.Slices{Client: clients, Namespace: o.Namespace, Service: o.Service, Port: uint16(o.ReplicaPort)},
	}
	if g.certs != nil {
		names := certs.ServerNames(o.Service, o.Namespace, o.ClusterDomain)
		options.TLS = &share.TLS{Certificates: g.certs, Name: names[len(names)-1]}
	}
	return share.New(options)
}
