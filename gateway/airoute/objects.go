package airoute

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"
)

const (
	fairwayGroup = "fairway.dev"
	poolGroup    = "inference.networking.k8s.io"
	poolKind     = "InferencePool"
)

// FromObjects makes rules and backends of objects from a file. pools are the names of
// the pools that there are, "namespace/name". What is not served, or only in a cluster,
// is an error that names the field.
func FromObjects(o *Objects, pools []string) (*Config, error) {
	b := newBuilder(o.input(pools))
	b.local = true
	r := b.run()
	if err := o.errors(r); err != nil {
		return nil, err
	}
	for i := range o.backends {
		x := &o.backends[i]
		if name := nameOf(x); !b.named[Reference{fairwayGroup, kindBackend, name}] {
			b.c.Warnings = append(b.c.Warnings, x.errorf("metadata.name", "%s is in no AIRoute and gets no requests", name).Error())
		}
	}
	if len(b.c.Rules) > 0 {
		for _, p := range pools {
			if !b.named[Reference{poolGroup, poolKind, parseName(p)}] {
				b.c.Warnings = append(b.c.Warnings, fmt.Sprintf("InferencePool %s is in no AIRoute; beside AIRoutes, it gets no requests", p))
			}
		}
	}
	return b.c, nil
}

// input is the objects as a cluster would have them, where everything may name
// everything.
func (o *Objects) input(pools []string) *Input {
	in := &Input{
		Pool: func(name types.NamespacedName) *inferencev1.InferencePool {
			if !slices.Contains(pools, name.String()) {
				return nil
			}
			return &inferencev1.InferencePool{}
		},
		Service:   func(types.NamespacedName) *corev1.Service { return nil },
		ConfigMap: func(types.NamespacedName) *corev1.ConfigMap { return nil },
		SecretKeys: func(name types.NamespacedName) ([]string, bool) {
			entries := o.Secrets.Read(name.Namespace, name.Name)
			var keys []string
			for k, v := range entries {
				if len(v) > 0 {
					keys = append(keys, k)
				}
			}
			return keys, entries != nil
		},
		Certificate: func(name types.NamespacedName) []byte {
			return o.Secrets.Read(name.Namespace, name.Name)[certificateKey]
		},
		Granted:     func(Reference, Reference) bool { return true },
		OwnIdentity: func(string) bool { return true },
	}
	for i := range o.backends {
		in.Backends = append(in.Backends, &o.backends[i].AIBackend)
	}
	for i := range o.routes {
		in.Routes = append(in.Routes, &o.routes[i].AIRoute)
	}
	return in
}

// errors is one error for each problem, with its line.
func (o *Objects) errors(r *Result) error {
	var errs []error
	fail := func(s source, field, format string, args ...any) {
		if len(errs) < maxProblems {
			errs = append(errs, s.errorf(field, format, args...))
		}
	}
	seen := map[string]bool{}
	twice := func(s source, kind string, name types.NamespacedName) bool {
		key := kind + " " + name.String()
		if seen[key] {
			fail(s, "metadata.name", "%s is there twice", key)
			return true
		}
		seen[key] = true
		return false
	}
	for i := range o.backends {
		if x := &o.backends[i]; !twice(x.source, kindBackend, nameOf(x)) {
			for _, p := range r.Backends[nameOf(x)].Problems {
				fail(x.source, p.Field, "%s", p.Message)
			}
		}
	}
	for i := range o.routes {
		x := &o.routes[i]
		if twice(x.source, kindRoute, nameOf(x)) {
			continue
		}
		for _, p := range r.Routes[nameOf(x)].Problems {
			// What is wrong with a backend was told already.
			if p.Reason != ReasonBackend {
				fail(x.source, p.Field, "%s", p.Message)
			}
		}
	}
	return errors.Join(errs...)
}
