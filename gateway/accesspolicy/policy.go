package accesspolicy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// Reasons of problems; their condition is Accepted.
const (
	ReasonInvalid    = "Invalid"
	ReasonConflicted = "Conflicted" // an older policy is for the same target
)

// Problem is something wrong with a policy.
type Problem struct {
	Reason string
	// Field is where, Message what and how to mend it.
	Field, Message string
}

// Target is a Gateway, or one of its listeners.
type Target struct {
	Gateway types.NamespacedName
	// Section is the listener's name, "" for all of the Gateway's.
	Section string
}

// Result is what a policy comes to.
type Result struct {
	Generation int64
	Target     Target
	Problems   []Problem
}

// Set is the policies by their targets. It is not changed any more; nil has none.
type Set struct {
	policies map[Target]*Policy
	gateways map[types.NamespacedName]bool
}

// Policy is what is allowed at a target.
type Policy struct {
	// Name is the object's.
	Name types.NamespacedName
	// TrustDomain is that of clients.
	TrustDomain string
	rules       []rule
}

type rule struct{ identities, models []func(string) bool }

// Find is the policy for a listener of a Gateway, nil without any.
func (s *Set) Find(gateway types.NamespacedName, section string) *Policy {
	if s == nil {
		return nil
	}
	if p := s.policies[Target{gateway, section}]; p != nil {
		return p
	}
	return s.policies[Target{gateway, ""}]
}

// Empty says whether there is no policy at all.
func (s *Set) Empty() bool { return s == nil || len(s.policies) == 0 }

// Targets are those at a Gateway, in the order of their sections.
func (s *Set) Targets(gateway types.NamespacedName) (all []Target) {
	if !s.Guards(gateway) {
		return nil
	}
	for t := range s.policies {
		if t.Gateway == gateway {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(a, b Target) int { return cmp.Compare(a.Section, b.Section) })
	return all
}

// Guards says whether the Gateway or any of its listeners has a policy.
func (s *Set) Guards(gateway types.NamespacedName) bool { return s != nil && s.gateways[gateway] }

// Allows says whether an identity may call a model, "" for a request without one.
func (p *Policy) Allows(identity, model string) bool {
	holds := func(all []func(string) bool, s string) bool {
		return slices.ContainsFunc(all, func(f func(string) bool) bool { return f(s) })
	}
	for i := range p.rules {
		if holds(p.rules[i].identities, identity) && holds(p.rules[i].models, model) {
			return true
		}
	}
	return false
}

// Compile makes a set of policies, and says what is wrong with each. The order does not
// matter.
func Compile(all []*v1alpha1.AIAccessPolicy) (*Set, map[types.NamespacedName]*Result) {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b *v1alpha1.AIAccessPolicy) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	set, results := &Set{map[Target]*Policy{}, map[types.NamespacedName]bool{}}, map[types.NamespacedName]*Result{}
	for _, x := range sorted {
		name := types.NamespacedName{Namespace: x.Namespace, Name: x.Name}
		r := &Result{Generation: x.Generation, Target: TargetOf(x)}
		results[name] = r
		p := r.policy(x)
		p.Name = name
		if before := set.policies[r.Target]; before != nil {
			r.add(ReasonConflicted, "spec.targetRef", "AIAccessPolicy %s is for the same target and older; delete one, or name a listener in sectionName", before.Name)
			continue
		}
		set.policies[r.Target], set.gateways[r.Target.Gateway] = p, true
	}
	return set, results
}

// TargetOf is the target of a policy.
func TargetOf(x *v1alpha1.AIAccessPolicy) Target {
	t := Target{Gateway: types.NamespacedName{Namespace: x.Namespace, Name: string(x.Spec.TargetRef.Name)}}
	if s := x.Spec.TargetRef.SectionName; s != nil {
		t.Section = string(*s)
	}
	return t
}

// maxProblems bounds what is told of one policy.
const maxProblems = 20

func (r *Result) add(reason, field, format string, args ...any) {
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, Problem{reason, field, fmt.Sprintf(format, args...)})
	}
}

var domainForm = regexp.MustCompile(`^[a-z0-9._-]{1,255}$`)

// policy reads a policy. One with a mistake allows nothing.
func (r *Result) policy(x *v1alpha1.AIAccessPolicy) *Policy {
	p := &Policy{TrustDomain: x.Spec.Trust.TrustDomain}
	ref := &x.Spec.TargetRef
	if ref.Group != "gateway.networking.k8s.io" || ref.Kind != "Gateway" || ref.Name == "" {
		r.add(ReasonInvalid, "spec.targetRef", "must be a Gateway (group gateway.networking.k8s.io)")
	}
	if !domainForm.MatchString(p.TrustDomain) {
		r.add(ReasonInvalid, "spec.trust.trustDomain", "must be the name of a trust domain, as in example.org")
	}
	for i := range x.Spec.Rules {
		in, at := &x.Spec.Rules[i], fmt.Sprintf("spec.rules[%d]", i)
		var out rule
		for k, m := range in.Identities {
			out.identities = append(out.identities, r.identity(fmt.Sprintf("%s.identities[%d]", at, k), m, p.TrustDomain))
		}
		for k, m := range in.Models {
			out.models = append(out.models, r.compare(fmt.Sprintf("%s.models[%d]", at, k), m.Type, m.Value))
		}
		if len(in.Identities) == 0 || len(in.Models) == 0 {
			r.add(ReasonInvalid, at, "must have identities and models")
		}
		p.rules = append(p.rules, out)
	}
	if len(r.Problems) > 0 {
		p.rules = nil
	}
	return p
}

func (r *Result) identity(at string, m v1alpha1.IdentityMatch, trustDomain string) func(string) bool {
	if m.Type != v1alpha1.ModelMatchRegularExpression && !strings.HasPrefix(m.Value, scheme+trustDomain+"/") {
		r.add(ReasonInvalid, at+".value", "must begin with %s%s/, the trust domain", scheme, trustDomain)
	}
	if m.Type == v1alpha1.ModelMatchPrefix && !strings.HasSuffix(m.Value, "/") {
		r.add(ReasonInvalid, at+".value", "a prefix must end with /")
	}
	return r.compare(at, m.Type, m.Value)
}

// compare reads a comparison.
func (r *Result) compare(at string, kind v1alpha1.ModelMatchType, value string) func(string) bool {
	switch {
	case value == "" || len(value) > 1024:
		r.add(ReasonInvalid, at+".value", "must have 1 to 1024 characters")
	case kind == "" || kind == v1alpha1.ModelMatchExact:
		return func(s string) bool { return s == value }
	case kind == v1alpha1.ModelMatchPrefix:
		return func(s string) bool { return strings.HasPrefix(s, value) }
	case kind == v1alpha1.ModelMatchRegularExpression:
		if _, err := regexp.Compile(value); err == nil {
			if re, err := regexp.Compile(`^(?:` + value + `)$`); err == nil {
				return re.MatchString
			}
		}
		r.add(ReasonInvalid, at+".value", "is not a regular expression")
	default:
		r.add(ReasonInvalid, at+".type", "must be Exact, Prefix or RegularExpression")
	}
	return func(string) bool { return false }
}
