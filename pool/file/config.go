package file

import (
	"fmt"
	"net/netip"
	"strings"

	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/pool"
)

// config joins pools and endpoints. What it returns counts only when there were
// no mistakes.
func (d *decoder) config() *Config {
	c := &Config{}
	if len(d.pools) == 0 {
		if d.lists == 0 && len(d.problems) == 0 {
			d.problems = append(d.problems, fmt.Errorf("%s: has neither an %s nor endpoints; see the documentation for an example", d.file, poolKind))
		}
		c.Pools = []PoolConfig{d.onlyPool()}
		return c
	}
	d.checkModels()
	selected := make([]bool, len(d.endpoints))
	for i := range d.pools {
		p := &d.pools[i]
		c.Pools = append(c.Pools, d.pool(p, selected))
	}
	for i := range d.endpoints {
		if e := &d.endpoints[i]; !selected[i] {
			d.warn(e.node, e.path, "%s is selected by no %s of its namespace and gets no requests; give it the labels of a selector", e.id(), poolKind)
		}
	}
	c.Warnings = d.warnings
	return c
}

// onlyPool is the pool of a file that has endpoints alone.
func (d *decoder) onlyPool() PoolConfig {
	p := PoolConfig{
		Name: "default", Namespace: DefaultNamespace,
		FailureMode: inferencev1.EndpointPickerFailOpen,
		AppProtocol: inferencev1.AppProtocolHTTP,
	}
	s := specs{d: d, seen: map[string]string{}}
	for i := range d.endpoints {
		e := &d.endpoints[i]
		if e.port == 0 {
			d.missingPort(e)
			continue
		}
		s.add(e, e.port, "")
	}
	p.Specs = s.all
	return p
}

func (d *decoder) missingPort(e *endpoint) {
	// A wrong port has been reported already.
	for i := 0; i+1 < len(e.item.Content); i += 2 {
		if e.item.Content[i].Value == "port" {
			return
		}
	}
	d.problem(e.item, e.path+".port", "is missing; without an %s, which has target ports, every endpoint needs one", poolKind)
}

// pool lists the endpoints that an InferencePool selects, and marks them.
func (d *decoder) pool(p *poolObject, selected []bool) PoolConfig {
	c := PoolConfig{
		Name: p.Name, Namespace: p.Namespace,
		FailureMode: inferencev1.EndpointPickerFailClose, // the API's default
		AppProtocol: p.Spec.AppProtocol,
	}
	if ref := p.Spec.EndpointPickerRef; ref != nil {
		c.FailureMode = ref.FailureMode
	}
	for _, m := range p.models {
		c.Models = append(c.Models, m.name)
	}
	s := specs{d: d, seen: map[string]string{}}
	for i := range d.endpoints {
		e := &d.endpoints[i]
		if e.namespace != p.Namespace || !selects(p.Spec.Selector.MatchLabels, e.labels) {
			continue
		}
		selected[i] = true
		if e.port != 0 {
			s.add(e, e.port, "")
			continue
		}
		for rank, port := range p.Spec.TargetPorts {
			suffix := ""
			if len(p.Spec.TargetPorts) > 1 {
				suffix = fmt.Sprintf("-rank-%d", rank)
			}
			s.add(e, int(port.Number), suffix)
		}
	}
	if len(s.all) == 0 {
		d.warn(p.node, "spec.selector", "%s/%s selects no endpoint; its requests are answered with 503", p.Namespace, p.Name)
	}
	c.Specs = s.all
	return c
}

func selects(want map[inferencev1.LabelKey]inferencev1.LabelValue, labels map[string]string) bool {
	for k, v := range want {
		if got, ok := labels[string(k)]; !ok || got != string(v) {
			return false
		}
	}
	return len(want) > 0
}

// specs collects one pool's endpoints and refuses those that collide.
type specs struct {
	d    *decoder
	all  []pool.Spec
	seen map[string]string // ID and address to ID
}

func (s *specs) add(e *endpoint, port int, suffix string) {
	if !e.addr.IsValid() {
		return // reported already
	}
	spec := pool.Spec{ID: e.id() + suffix, Address: netip.AddrPortFrom(e.addr, uint16(port)).String(), Labels: e.labels}
	if other, dup := s.seen["address "+spec.Address]; dup {
		s.d.problem(e.addressNode, e.path+".address", "%s is %s already; every endpoint of a pool needs an address and port of its own", spec.Address, other)
		return
	}
	if _, dup := s.seen["id "+spec.ID]; dup {
		s.d.problem(e.node, e.path+".name", "%s is the name of another endpoint's data-parallel rank; rename one", spec.ID)
		return
	}
	s.seen["address "+spec.Address], s.seen["id "+spec.ID] = spec.ID, spec.ID
	s.all = append(s.all, spec)
}

// checkModels finds models that two pools claim, and pools that no model leads to.
func (d *decoder) checkModels() {
	owner := map[string]*poolObject{}
	var open []string
	for i := range d.pools {
		p := &d.pools[i]
		if len(p.models) == 0 {
			open = append(open, p.Namespace+"/"+p.Name)
		}
		for _, m := range p.models {
			if o := owner[m.name]; o != nil {
				d.problem(m.node, "metadata.annotations."+ModelsAnnotation, "model %q is served by %s/%s already (line %d); name it in one of them", shorten(m.name), o.Namespace, o.Name, o.node.Line)
				continue
			}
			owner[m.name] = p
		}
	}
	if len(open) > 1 {
		d.warn(d.pools[0].node, "metadata.annotations."+ModelsAnnotation, "%s name no models, so none of them gets requests by model; name the models of all pools but one", strings.Join(open[:min(len(open), 5)], ", "))
	}
}
