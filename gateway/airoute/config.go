package airoute

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/gateway/accesspolicy"
)

// Config is rules and the backends that they name. Nothing in it may change once it
// was asked for anything. It is safe for concurrent use.
type Config struct {
	// Rules are tried in order.
	Rules    []Rule
	Backends []Backend
	// Access is who may call, in a cluster.
	Access *accesspolicy.Set
	// Warnings are what is probably not meant but does no harm.
	Warnings []string

	once  sync.Once
	index *index
}

// Rule sends what matches to its groups, one after the other.
type Rule struct {
	// Name is unique: "namespace/route/rule", or that of HTTPRouteRuleName.
	Name string
	// Route is the AIRoute it is of, "namespace/route"; "" for a rule of an HTTPRoute.
	Route string
	// Matches are alternatives; without any, every request matches.
	Matches []Match
	// Groups are in the order of their priority, none of them empty. A rule without
	// any answers 500.
	Groups [][]Target
	// Lost is the weight, beside those of the first group, of backends that a rule of an
	// HTTPRoute names and that cannot be served: their share of requests is answered 500.
	Lost uint64
	// Managed says that another control plane configures Envoy, where clusters of
	// pools have other names.
	Managed bool
	// On says what leads to the next group.
	On Triggers
	// Attempts is how many groups are tried, the first included; at least 1.
	Attempts int
	// FirstByteTimeout bounds a try up to its answer's begin, Timeout a request; 0
	// means no bound.
	FirstByteTimeout, Timeout time.Duration
	// Costs are what its answers cost, as in the AIRoute.
	Costs []v1alpha1.Cost
	// Limits are what clients may use of it.
	Limits []Limit
	// TrimModel is taken off the start of the model's name before it is sent.
	TrimModel string
	// OwnedBy and Created, in seconds since 1970, describe the rule's models.
	OwnedBy string
	Created int64
}

// Target is one place of a group.
type Target struct {
	// Pool is "namespace/name" of an InferencePool, or the Backend's.
	Pool string
	// Backend is the name of a Backend. With Pool, it is that pool, spoken to as the
	// Backend says; without, a provider.
	Backend string
	// Model replaces the name of the model for a Pool alone, "" for the client's. A
	// Backend has its own.
	Model string
	// Weight is its share within the group; at least 1.
	Weight uint32
}

// Triggers are reasons to go on to the next group.
type Triggers struct {
	ConnectFailure, ServerError, TooManyRequests, NoEndpoints, Saturated, PickerUnavailable bool
}

// Backend is a provider at an address.
type Backend struct {
	// Name is unique: "namespace/name", with the model after a # where a rule
	// replaces it.
	Name string
	// Label is the name without the model, for people.
	Label string
	// Provider says how to speak to it.
	Provider aibackend.Backend
	// Pool is the InferencePool that it is, "namespace/name", or what stands for one
	// where there is Picked, "picked:namespace/name" of the AIBackend; "" for a host.
	Pool   string
	Picked *Picked
	// Host is a DNS name or an IP address.
	Host string
	Port uint16
	TLS  TLS
	// Credentials says what requests are signed with.
	Credentials credentials.Config
	// SetHeaders replace, AddHeaders join and RemoveHeaders take out headers of
	// requests, by lower-case names.
	SetHeaders, AddHeaders []aibackend.Header
	RemoveHeaders          []string
	// SetBody and RemoveBody replace and take out top-level fields of JSON bodies, after
	// translation.
	SetBody    []aibackend.Field
	RemoveBody []string
	// Models are those it is known to serve; empty for any.
	Models []string
}

// TLS is how a backend is trusted.
type TLS struct {
	// Off means no TLS, Insecure TLS without a look at the certificate.
	Off, Insecure bool
	// ServerName is sent and checked; "" means the host.
	ServerName string
	// CA is PEM; nil means the system's authorities.
	CA []byte
}

// Authority is the host as requests name it.
func (b *Backend) Authority() string {
	host := b.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if b.Port == 443 && !b.TLS.Off || b.Port == 80 && b.TLS.Off {
		return host
	}
	return host + ":" + itoa(b.Port)
}

func itoa(n uint16) string { return strconv.FormatUint(uint64(n), 10) }
