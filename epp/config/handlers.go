package config

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/profile"
)

// handler makes the policy of a profile handler that runs profiles in a way of its
// own. It records errors and may then return nil.
type handler interface {
	policy(l *loader, p *plugin, ps *profiles) scheduler.Policy
}

// handlerOf is the handler that was declared; false for none and for
// single-profile-handler, which needs none.
func handlerOf(p *plugin) (handler, bool) {
	if p == nil {
		return nil, false
	}
	h, ok := p.built.(handler)
	return h, ok
}

// handlers are the profile handlers and what they refer to.
func handlers() registry {
	shim := factory{kind: kindShim, build: buildHeadersHandler}
	byHeader := func(defaults profile.HeaderParameters) factory {
		return alpha(with(kindHandler, defaults, func(_ string, p profile.HeaderParameters) any { return headerHandler{p} }))
	}
	phase := profile.DefaultHeaderParameters()
	phase.HeaderName = "EPP-Phase"
	return registry{
		"single-profile-handler": {kind: kindHandler, build: buildSingleProfile},
		profile.DisaggType: with(kindHandler, profile.DefaultDisaggParameters(), func(_ string, p profile.DisaggParameters) any {
			return disaggHandler{p, 0}
		}),
		profile.PDType: deprecated(factory{kind: kindHandler, build: buildPDHandler}, profile.DisaggType),
		profile.DataParallelType: deprecated(with(kindHandler, profile.DefaultDataParallelParameters(), func(_ string, p profile.DataParallelParameters) any {
			return dataParallelHandler{p}
		}), "single-profile-handler: each port of a pod is an endpoint that gateways reach"),
		profile.HeaderType:             byHeader(profile.DefaultHeaderParameters()),
		"header-phase-profile-handler": deprecated(byHeader(phase), profile.HeaderType+", with headerName: EPP-Phase"),
		profile.PrefixBasedType: with(kindDecider, profile.PrefixBasedParameters{}, func(n string, p profile.PrefixBasedParameters) any {
			return profile.NewPrefixBased(n, p)
		}),
		profile.AlwaysType:           without(kindDecider, func(n string) any { return profile.NewAlways(n) }),
		profile.AlwaysMultimodalType: without(kindDecider, func(n string) any { return profile.NewAlwaysMultimodal(n) }),
		"disagg-headers-handler":     shim,
		"prefill-header-handler":     shim,
	}
}

// singleProfile are parameters that published examples give to the
// single-profile-handler, which has none.
type singleProfile struct {
	Scorer string `json:"scorer"`
	Picker string `json:"picker"`
}

func buildSingleProfile(d *decoder, p *plugin, params *yaml.Node) any {
	s := decodeParams(d, p, params, singleProfile{})
	if s != (singleProfile{}) {
		d.warn(params, p.path+".parameters", "are ignored: list scorers and pickers in schedulingProfiles")
	}
	return nil
}

// headersHandler are the parameters of the plugins that set headers in earlier
// versions.
type headersHandler struct {
	PrefillProfile string `json:"prefillProfile"`
	EncodeProfile  string `json:"encodeProfile"`
}

func buildHeadersHandler(d *decoder, p *plugin, params *yaml.Node) any {
	decodeParams(d, p, params, headersHandler{})
	d.warn(child(p.node, "type"), p.path+".type", "%s is deprecated and does nothing: the profile handler sets the headers; remove it", p.typ)
	return nil
}

// pdHandler are the parameters of pd-profile-handler.
type pdHandler struct {
	DecodeProfile     string `json:"decodeProfile"`
	PrefillProfile    string `json:"prefillProfile"`
	DeciderPluginName string `json:"deciderPluginName"`
	PrimaryPort       int    `json:"primaryPort"`
	// PrefixPluginType and PrefixPluginName never did anything, and
	// PrefixMatchInfoProducerName does not here: there is one prefix index.
	PrefixPluginType            string `json:"prefixPluginType"`
	PrefixPluginName            string `json:"prefixPluginName"`
	PrefixMatchInfoProducerName string `json:"prefixMatchInfoProducerName"`
}

// Validate implements validator.
func (p pdHandler) Validate() error {
	switch {
	case p.PrimaryPort < 0 || p.PrimaryPort > 65535:
		return fmt.Errorf("primaryPort is %d: must be 1 to 65535, or 0 for none", p.PrimaryPort)
	case p.DeciderPluginName == "":
		return fmt.Errorf("deciderPluginName is empty: name a decider")
	}
	return nil
}

func buildPDHandler(d *decoder, p *plugin, params *yaml.Node) any {
	pd := decodeParams(d, p, params, pdHandler{
		DecodeProfile: "decode", PrefillProfile: "prefill", DeciderPluginName: profile.PrefixBasedType,
	})
	q := profile.DefaultDisaggParameters()
	q.Profiles.Decode, q.Profiles.Prefill, q.Deciders.Prefill = pd.DecodeProfile, pd.PrefillProfile, pd.DeciderPluginName
	if pd.PrimaryPort != 0 {
		d.warn(child(params, "primaryPort"), p.path+".parameters.primaryPort", "is deprecated: gateways reach each port of a pod; remove it")
	}
	return disaggHandler{q, pd.PrimaryPort}
}

// disaggHandler is a disagg-profile-handler or pd-profile-handler.
type disaggHandler struct {
	params profile.DisaggParameters
	port   int
}

func (h disaggHandler) policy(l *loader, p *plugin, ps *profiles) scheduler.Policy {
	n, path := child(p.node, "parameters"), p.path+".parameters"
	s := profile.Stages{
		Decode: ps.find(h.params.Profiles.Decode), Prefill: ps.find(h.params.Profiles.Prefill),
		Encode: ps.find(h.params.Profiles.Encode), PrefillFirst: h.params.PrefillFirst(), Port: h.port,
	}
	if s.Decode == nil {
		l.fail(orSelf(n, "profiles"), path+".profiles.decode", "no scheduling profile is named %s (there are: %s): it picks the endpoint that answers", clip(h.params.Profiles.Decode), ps.names())
	}
	stage := func(name, decider, profileName string, prof *scheduler.Profile, always bool) profile.Decider {
		at := path + ".deciders." + name
		switch {
		case decider == "" && prof != nil && !always:
			l.warn(p.node, at, "is missing: the scheduling profile %s is never run", clip(profileName))
		case decider != "" && prof == nil:
			l.warn(orSelf(n, "deciders"), at, "has no effect: no scheduling profile is named %s", clip(profileName))
		}
		if decider == "" {
			return nil
		}
		if d := l.ref(decider, at, child(n, "deciders", name), kindDecider); d != nil {
			return d.built.(profile.Decider)
		}
		return nil
	}
	s.PrefillIf = stage("prefill", h.params.Deciders.Prefill, h.params.Profiles.Prefill, s.Prefill, s.PrefillFirst)
	s.EncodeIf = stage("encode", h.params.Deciders.Encode, h.params.Profiles.Encode, s.Encode, false)
	for i, prof := range ps.list {
		if prof != s.Decode && prof != s.Prefill && prof != s.Encode {
			l.warn(item(ps.node, i), fmt.Sprintf("schedulingProfiles[%d]", i), "is never run: %q does not name it", p.name)
		}
	}
	if len(l.errs) > 0 {
		return nil
	}
	return profile.NewDisagg(p.name, s)
}

// dataParallelHandler is a data-parallel-profile-handler.
type dataParallelHandler struct {
	params profile.DataParallelParameters
}

func (h dataParallelHandler) policy(l *loader, p *plugin, ps *profiles) scheduler.Policy {
	if len(ps.list) != 1 {
		l.fail(item(ps.node, 1), "schedulingProfiles", "there are %d profiles (%s): %s uses one", len(ps.list), ps.names(), p.typ)
		return nil
	}
	return profile.NewDataParallel(p.name, ps.list[0], h.params.PrimaryPort)
}

// headerHandler is a header-profile-handler.
type headerHandler struct{ params profile.HeaderParameters }

func (h headerHandler) policy(l *loader, p *plugin, ps *profiles) scheduler.Policy {
	if len(ps.list) > 1 && ps.find(h.params.DefaultProfile) == nil {
		l.warn(p.node, p.path+".parameters.defaultProfile", "no scheduling profile is named %s (there are: %s): requests without the header %s are refused", clip(h.params.DefaultProfile), ps.names(), h.params.HeaderName)
	}
	return profile.NewByHeader(p.name, h.params, ps.list)
}
