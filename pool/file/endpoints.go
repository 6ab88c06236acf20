package file

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/util/validation"
)

const maxLabels = 64 // of one endpoint

// endpoint is an element of an endpoints list.
type endpoint struct {
	name, namespace string
	addr            netip.Addr // invalid until host is resolved, or when wrong
	host            string     // empty when the address is an IP
	port            int        // 0: the pool's target ports
	labels          map[string]string

	path              string     // "endpoints[3]"
	item              *yaml.Node // the list's element
	node, addressNode *yaml.Node // its name and its address, where it has them
}

func (e *endpoint) id() string { return e.namespace + "/" + e.name }

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func sortedKeys(m map[string]*yaml.Node) []string { return slices.Sorted(maps.Keys(m)) }

// endpointList reads a document in the shape of llm-d's file discovery.
func (d *decoder) endpointList(n *yaml.Node) {
	f := d.fields(n, "", "endpoints")
	list := f["endpoints"]
	if list == nil {
		if len(n.Content) == 0 {
			d.problem(n, "endpoints", "is missing; the document is empty")
		}
		return
	}
	d.lists++
	seen := make(map[string]int, len(d.endpoints)) // line by id
	for i := range d.endpoints {
		seen[d.endpoints[i].id()] = d.endpoints[i].node.Line
	}
	for i, item := range d.items(list, "endpoints", MaxEndpoints-len(d.endpoints)) {
		e, ok := d.endpoint(item, index("endpoints", i))
		if !ok {
			continue
		}
		if line, dup := seen[e.id()]; dup && e.name != "" {
			d.problem(e.node, e.path+".name", "%s is there twice, first in line %d; names must be unique in a namespace", e.id(), line)
			continue
		}
		seen[e.id()] = e.node.Line
		d.endpoints = append(d.endpoints, e)
	}
}

func (d *decoder) endpoint(n *yaml.Node, path string) (endpoint, bool) {
	e := endpoint{path: path, item: n, node: n, addressNode: n}
	f := d.fields(n, path, "name", "namespace", "address", "port", "labels")
	if f == nil {
		return e, false
	}
	if v := f["name"]; v == nil {
		d.problem(n, path+".name", "is missing; name the endpoint")
	} else if s, ok := d.text(v, path+".name"); ok {
		e.name, e.node = s, v
		if s == "" || len(s) > 253 || strings.ContainsFunc(s, oddInName) {
			d.problem(v, path+".name", "%q is not a valid name; use up to 253 characters without blanks and slashes", shorten(s))
		}
	}
	e.namespace = d.namespace(f["namespace"], path+".namespace")
	if v := f["address"]; v == nil {
		d.problem(n, path+".address", "is missing; write the server's IP address")
	} else if s, ok := d.text(v, path+".address"); ok {
		e.addressNode = v
		d.address(v, path+".address", s, &e)
	}
	if v := f["port"]; v != nil {
		e.port, _ = d.port(v, path+".port", true)
	}
	if v := f["labels"]; v != nil {
		all := d.labels(v, path+".labels", maxLabels)
		e.labels = make(map[string]string, len(all))
		for k, v := range all {
			e.labels[k] = v.Value
		}
	}
	return e, true
}

func oddInName(r rune) bool {
	return r == '/' || unicode.IsSpace(r) || !unicode.IsPrint(r)
}

// address reads an IP address or a host name.
func (d *decoder) address(n *yaml.Node, path, s string, e *endpoint) {
	if a, err := netip.ParseAddr(s); err == nil {
		switch {
		case a.Zone() != "":
			d.problem(n, path, "%q has a zone; use an address without one", shorten(s))
		case !usableAddr(a.Unmap()):
			d.problem(n, path, "%q is not the address of a server; for this machine write 127.0.0.1", s)
		default:
			e.addr = a.Unmap()
		}
		return
	}
	if _, err := netip.ParseAddrPort(s); err == nil {
		d.problem(n, path, "%q has a port; write that in the field port", shorten(s))
		return
	}
	if strings.HasPrefix(s, "[") {
		d.problem(n, path, "%q has brackets; write the IPv6 address without them", shorten(s))
		return
	}
	host := strings.TrimSuffix(strings.ToLower(s), ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	// What ends in a number is a mistyped IP address, not a name.
	if len(validation.IsDNS1123Subdomain(host)) > 0 || strings.Trim(last, "0123456789") == "" {
		d.problem(n, path, "%q is neither an IP address nor a host name; write an address as in 10.0.0.1 or fd00::1", shorten(s))
		return
	}
	e.host = host
}
