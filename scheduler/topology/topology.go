package topology

import "fmt"

// Level is the tightest place that two endpoints share.
type Level uint8

// Levels from nothing to the same host.
const (
	None Level = iota
	Region
	Zone
	Rack
	Host
)

// ParseLevel reads host, rack, zone or region.
func ParseLevel(s string) (Level, error) {
	for l, name := range map[Level]string{Host: "host", Rack: "rack", Zone: "zone", Region: "region"} {
		if s == name {
			return l, nil
		}
	}
	return None, fmt.Errorf("is %.60q: must be host, rack, zone or region", s)
}

// Labels name the labels that say where an endpoint is.
type Labels struct {
	Hostname string `json:"hostname"`
	Rack     string `json:"rack"`
	Zone     string `json:"zone"`
	Region   string `json:"region"`
}

// DefaultLabels are those of Kubernetes.
func DefaultLabels() Labels {
	return Labels{
		Hostname: "kubernetes.io/hostname", Rack: "topology.kubernetes.io/rack",
		Zone: "topology.kubernetes.io/zone", Region: "topology.kubernetes.io/region",
	}
}

// Shared is the tightest place that endpoints with labels a and b share. A label that
// is missing or empty is shared with nobody.
func (l Labels) Shared(a, b map[string]string) Level {
	for _, k := range [...]struct {
		level Level
		label string
	}{{Host, l.Hostname}, {Rack, l.Rack}, {Zone, l.Zone}, {Region, l.Region}} {
		if v := a[k.label]; v != "" && v == b[k.label] {
			return k.level
		}
	}
	return None
}
