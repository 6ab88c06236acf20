package config

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/picker"
	"github.com/fairway-ai/fairway/scheduler/profile"
)

// profiles are the scheduling profiles of a file.
type profiles struct {
	list []*scheduler.Profile
	// used are the names of the plugins that a profile names.
	used map[string]bool
	// empty are those without any filter, scorer or picker.
	empty map[string]bool
	node  *yaml.Node
}

func (ps *profiles) find(name string) *scheduler.Profile {
	for _, p := range ps.list {
		if p.Name() == name {
			return p
		}
	}
	return nil
}

func (ps *profiles) names() string {
	names := make([]string, 0, len(ps.list))
	for _, p := range ps.list {
		names = append(names, p.Name())
	}
	return strings.Join(names, ", ")
}

// schedule builds the policy.
func (l *loader) schedule() {
	var handler *plugin
	for _, p := range l.plugins {
		if p.kind != kindHandler {
			continue
		}
		if handler != nil {
			l.fail(p.node, p.path, "there is a profile handler already, %q: only one can be used", handler.name)
			return
		}
		handler = p
	}
	l.resolve()
	ps := l.profiles()
	if len(l.errs) > 0 {
		return
	}
	defer l.estimateOutput()
	h, several := handlerOf(handler)
	switch {
	case several:
		if p := h.policy(l, handler, ps); p != nil {
			l.config.Policy = p
		}
	case len(ps.list) > 1:
		l.fail(item(ps.node, 1), "schedulingProfiles", "there are %d profiles (%s): declare the handler that chooses between them, such as disagg-profile-handler", len(ps.list), ps.names())
	case ps.empty[ps.list[0].Name()]:
		// Nothing says how to choose: the default policy does.
	default:
		l.config.Policy = ps.list[0]
	}
}

// estimateOutput has the policy count answers as in flight, where the file asks for it.
func (l *loader) estimateOutput() {
	for _, p := range l.plugins {
		load, ok := p.built.(inflightLoad)
		if !ok {
			continue
		}
		if !load.AddEstimatedOutputTokens {
			for _, field := range []string{"outputRatio", "maxEstimatedOutputTokens"} {
				l.warnAt(p, child(p.node, "parameters"), field, "has no effect: addEstimatedOutputTokens is false")
			}
			continue
		}
		if l.config.Policy == nil {
			l.warn(child(p.node, "parameters"), p.path+".parameters.addEstimatedOutputTokens", "has no effect: no scorer reads what is in flight")
			continue
		}
		most := int64(math.MaxInt64)
		if m := load.MaxEstimatedOutputTokens; m != nil {
			most = *m
		}
		l.config.Policy = profile.NewOutput(l.config.Policy, load.OutputRatio, most)
	}
}

// profiles builds the profiles; a file without any has one with every plugin that can
// be part of one, as published.
func (l *loader) profiles() *profiles {
	ps := &profiles{empty: map[string]bool{}, used: map[string]bool{}, node: child(l.root, "schedulingProfiles")}
	if len(l.spec.SchedulingProfiles) == 0 {
		prof := v1alpha1.SchedulingProfile{Name: "default"}
		for _, p := range l.plugins {
			if p.kind == kindFilter || p.kind == kindScorer || p.kind == kindPicker {
				prof.Plugins = append(prof.Plugins, v1alpha1.SchedulingPlugin{PluginRef: p.name})
			}
		}
		l.profile(ps, prof, "plugins", child(l.root, "plugins"))
		return ps
	}
	for i, spec := range l.spec.SchedulingProfiles {
		n, path := item(ps.node, i), fmt.Sprintf("schedulingProfiles[%d]", i)
		if ps.find(spec.Name) != nil {
			l.fail(n, path+".name", "%s is the name of another profile: names must be unique", clip(spec.Name))
			continue
		}
		l.profile(ps, spec, path, n)
	}
	l.unused(ps)
	return ps
}

// unused warns of what is declared for profiles and in none of them.
func (l *loader) unused(ps *profiles) {
	for _, p := range l.plugins {
		switch p.kind {
		case kindFilter, kindScorer, kindPicker:
			if !ps.used[p.name] && p.typ != preciseScorer { // which is a producer, too
				l.warn(p.node, p.path, "has no effect: no scheduling profile names %s", clip(p.name))
			}
		}
	}
}

// declaredPicker is the picker of profiles that name none: as published, the first one
// that the file declares; nil where it declares none.
func (l *loader) declaredPicker() *plugin {
	for _, p := range l.plugins {
		if _, ok := p.built.(scheduler.Picker); ok {
			return p
		}
	}
	return nil
}

// profile builds one profile and adds it to ps.
func (l *loader) profile(ps *profiles, spec v1alpha1.SchedulingProfile, path string, n *yaml.Node) {
	if spec.Name == "" {
		l.fail(n, path+".name", "is missing")
	}
	var filters []scheduler.Filter
	var scorers []scheduler.Weighted
	var pick scheduler.Picker
	var filterTypes, scorerTypes []string
	pickType := picker.MaxScoreType
	list := child(n, "plugins")
	for i, sp := range spec.Plugins {
		at, pn := fmt.Sprintf("%s.plugins[%d]", path, i), item(list, i)
		p := l.ref(sp.PluginRef, at+".pluginRef", orSelf(pn, "pluginRef"),
			kindFilter, kindScorer, kindPicker, kindHandler, kindDecider, kindProducer, kindDetector, kindReporter, kindParser)
		if p == nil {
			continue
		}
		ps.used[p.name] = true
		if sp.Weight != nil && *sp.Weight != 0 && p.kind != kindScorer {
			l.warn(child(pn, "weight"), at+".weight", "has no effect: %q is %s", p.name, p.kind.article())
		}
		if f, ok := p.built.(scheduler.Filter); ok {
			filters, filterTypes = append(filters, f), append(filterTypes, p.typ)
		}
		if s, ok := p.built.(scheduler.Scorer); ok {
			scorers = append(scorers, scheduler.Weighted{Scorer: s, Weight: l.weight(sp, at, pn)})
			scorerTypes = append(scorerTypes, p.typ)
		}
		if k, ok := p.built.(scheduler.Picker); ok {
			if pick != nil {
				l.fail(orSelf(pn, "pluginRef"), at+".pluginRef", "%q is a second picker, after %q: a profile has one", p.name, pick.Name())
			}
			pick, pickType = k, p.typ
		}
	}
	ps.empty[spec.Name] = len(filters)+len(scorers) == 0 && pick == nil
	if p := l.declaredPicker(); pick == nil && p != nil && !ps.empty[spec.Name] {
		pick, pickType = p.built.(scheduler.Picker), p.typ
		ps.used[p.name] = true
	}
	if pick == nil {
		pick = picker.NewMaxScore("", picker.DefaultParameters())
	}
	types := slices.Concat(filterTypes, scorerTypes, []string{pickType})
	ps.list = append(ps.list, scheduler.NewProfile(spec.Name, filters, scorers, pick).Typed(types))
}

// weight is a scorer's weight in a profile.
func (l *loader) weight(sp v1alpha1.SchedulingPlugin, at string, n *yaml.Node) float32 {
	if sp.Weight == nil {
		return 1
	}
	w := *sp.Weight
	if math.IsNaN(w) || math.Abs(w) > math.MaxFloat32/1e6 {
		l.fail(child(n, "weight"), at+".weight", "is %v: must be a finite number", w)
	}
	return float32(w)
}
