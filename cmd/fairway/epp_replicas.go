package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/fairway-ai/fairway/epp"
	"github.com/fairway-ai/fairway/epp/replicas"
	"github.com/fairway-ai/fairway/gateway/certs"
)

// replicaFlags are the flags of fairway epp that say who the other replicas are.
type replicaFlags struct {
	port          int
	id            string
	service       string
	dns           []string
	tlsDir, name  string
	plaintext     bool
	namespaceFlag *string
}

func (r *replicaFlags) register(fs *pflag.FlagSet, namespace *string) {
	host, _ := os.Hostname() // empty is refused by validate
	r.namespaceFlag = namespace
	fs.IntVar(&r.port, "replica-port", 0, "port that the other replicas of this picker call: they tell each other what they do, so that all may pick at once; 0 for none")
	fs.StringVar(&r.id, "replica-id", host, "`name` of this replica, unique among them")
	fs.StringVar(&r.service, "replica-service", "", "`name` of the Service whose pods the replicas are, or namespace/name")
	fs.StringSliceVar(&r.dns, "replica-dns", nil, "`host` name that has the addresses of all replicas, or names of them as host or host:port; instead of --replica-service")
	fs.StringVar(&r.tlsDir, "replica-tls-dir", "", "`directory` of tls.crt, tls.key and ca.crt, by which replicas know each other; read again when they change")
	fs.StringVar(&r.name, "replica-tls-name", "", "DNS `name` that the replicas' certificates have, and no others by the same authority")
	fs.BoolVar(&r.plaintext, "replica-insecure", false, "let replicas talk without TLS; for development")
}

// validate reports everything that is wrong.
func (r *replicaFlags) validate() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if r.port == 0 {
		for flag, set := range map[string]bool{
			"service": r.service != "", "dns": len(r.dns) > 0, "tls-dir": r.tlsDir != "", "tls-name": r.name != "", "insecure": r.plaintext,
		} {
			if set {
				bad("--replica-%s: is of no use without --replica-port", flag)
			}
		}
		return errs
	}
	if r.port < 0 || r.port > math.MaxUint16 {
		bad("--replica-port: %d is not a port; use 1 to 65535, or 0 for none", r.port)
	}
	if r.id == "" {
		bad("--replica-id: is missing, and the host has no name")
	}
	if count(r.service != "", len(r.dns) > 0) != 1 {
		bad("--replica-service and --replica-dns: set exactly one")
	}
	for _, host := range r.dns {
		if _, port, err := net.SplitHostPort(host); host == "" || err == nil && !isPort(port) {
			bad("--replica-dns: %q is not a host or host:port", host)
		}
	}
	if count(r.tlsDir != "", r.plaintext) != 1 {
		bad("--replica-tls-dir and --replica-insecure: set exactly one")
	}
	if (r.tlsDir != "") != (r.name != "") {
		bad("--replica-tls-dir and --replica-tls-name: set both or none")
	}
	return errs
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// sharing is the exchange of fairway epp with its other replicas.
type sharing struct {
	replicas *replicas.Replicas
	certs    *certs.Directory // nil without TLS
}

// open prepares the exchange, nil without --replica-port. apiServer may be nil where the
// endpoints come from a file.
func (r *replicaFlags) open(apiServer *rest.Config, kubeconfig string, registry prometheus.Registerer, log *slog.Logger) (*sharing, error) {
	if r.port == 0 {
		return nil, nil
	}
	s := new(sharing)
	o := replicas.Options{ID: r.id, Listen: listenAddr(r.port), Registry: registry, Log: log}
	if len(r.dns) > 0 {
		o.Peers = &replicas.DNS{Hosts: r.dns, Port: uint16(r.port), Failed: func(err error) {
			log.Debug("the replicas' addresses could not be looked up", "error", err)
		}}
	} else {
		var err error
		if apiServer == nil {
			if apiServer, err = restConfig(kubeconfig); err != nil {
				return nil, fmt.Errorf("--replica-service: %w", err)
			}
		}
		clients, err := kubernetes.NewForConfig(apiServer)
		if err != nil {
			return nil, fmt.Errorf("--replica-service: %w", err)
		}
		namespace, name, named := strings.Cut(r.service, "/")
		if !named {
			namespace, name = cmp.Or(*r.namespaceFlag, ownNamespace()), r.service
		}
		o.Peers = &replicas.Slices{Client: clients, Namespace: namespace, Service: name, Port: uint16(r.port)}
	}
	if r.tlsDir != "" {
		d, err := certs.NewDirectory(certs.DirectoryOptions{Path: r.tlsDir, Names: []string{r.name}, Log: log})
		if err != nil {
			return nil, fmt.Errorf("--replica-tls-dir: %w", err)
		}
		s.certs, o.TLS = d, &replicas.TLS{Certificates: d, Name: r.name}
	}
	var err error
	if s.replicas, err = replicas.New(o); err != nil {
		return nil, err
	}
	log.Info("sharing with other replicas", "address", s.replicas.Addr().(*net.TCPAddr).String())
	return s, nil
}

// into makes the picker tell the other replicas what it does.
func (s *sharing) into(o *epp.Options) {
	if s != nil {
		o.Share = s.replicas
	}
}

// run exchanges until ctx ends.
func (s *sharing) run(ctx context.Context, p *epp.Picker) error {
	if s == nil {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.replicas.Run(ctx, p) })
	if s.certs != nil {
		group.Go(func() error { return s.certs.Start(ctx) })
	}
	return group.Wait()
}

// close gives up the listener of an exchange that may not have run.
func (s *sharing) close() {
	if s != nil {
		_ = s.replicas.Close() // it may be closed already
	}
}
