package scheduler_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/filter"
	"github.com/fairway-ai/fairway/scheduler/picker"
	"github.com/fairway-ai/fairway/scheduler/profile"
	"github.com/fairway-ai/fairway/scheduler/scorer"
	"github.com/fairway-ai/fairway/scheduler/session"
	"github.com/fairway-ai/fairway/scheduler/topology"
)

// args are a command's words: positional ones, and key=value ones by key.
type args struct {
	t     *testing.T
	line  string
	words []string
	named map[string]string
}

func parse(t *testing.T, line string) args {
	a := args{t: t, line: line, named: map[string]string{}}
	for _, f := range strings.Fields(line) {
		if k, v, ok := strings.Cut(f, "="); ok {
			a.named[k] = v
		} else {
			a.words = append(a.words, f)
		}
	}
	return a
}

func (a args) word(i int) string {
	if i >= len(a.words) {
		a.t.Fatalf("%q: word %d is missing", a.line, i)
	}
	return a.words[i]
}

func (a args) int(key string, def int64) int64 {
	v, ok := a.named[key]
	if !ok {
		return def
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		a.t.Fatalf("%q: %s: %v", a.line, key, err)
	}
	return n
}

// list splits "a,b"; "-" is the empty list.
func list(s string) []string {
	if s == "" || s == "-" {
		return nil
	}
	return strings.Split(s, ",")
}

// profile PLUGIN[*WEIGHT]... [max=N] [label=k:v]
func (a args) profile() scheduler.Policy {
	return a.profileOf("profile", a.words[1:])
}

func (a args) profileOf(name string, plugins []string) *scheduler.Profile {
	var filters []scheduler.Filter
	var scorers []scheduler.Weighted
	params := picker.Parameters{MaxNumOfEndpoints: int(a.int("max", 3))}
	var pick scheduler.Picker = picker.NewMaxScore("", params)
	for _, word := range plugins {
		typ, times, _ := strings.Cut(word, "*")
		weight := 1.0
		if times != "" {
			var err error
			if weight, err = strconv.ParseFloat(times, 32); err != nil {
				a.t.Fatalf("%q: %v", a.line, err)
			}
		}
		switch typ {
		case filter.LabelSelectorType:
			k, v, _ := strings.Cut(a.named["label"], ":")
			filters = append(filters, filter.NewLabelSelector("", filter.Selector{MatchLabels: map[string]string{k: v}}))
		case filter.DecodeType:
			filters = append(filters, filter.NewDecode(""))
		case filter.PrefillType:
			filters = append(filters, filter.NewPrefill(""))
		case filter.EncodeType:
			filters = append(filters, filter.NewEncode(""))
		case filter.UtilizationType, filter.PrefixAffinityType, filter.SessionAffinityType, filter.AttributeType, filter.TopologyType:
			filters = append(filters, a.filter(typ))
		case picker.RandomType:
			pick = picker.NewRandom("", params)
		case picker.WeightedRandomType:
			pick = picker.NewWeightedRandom("", params)
		default:
			s := a.scorer(typ)
			if f, ok := s.(scheduler.Filter); ok {
				filters = append(filters, f)
			}
			scorers = append(scorers, scheduler.Weighted{Scorer: s, Weight: float32(weight)})
		}
	}
	return scheduler.NewProfile(name, filters, scorers, pick)
}

// disagg decode=PLUGIN,... [prefill=PLUGIN,...] [encode=PLUGIN,...]
// [decider=TOKENS|always] [images=yes] [order=prefill-first] [port=N]
func (a args) disagg() scheduler.Policy {
	s := profile.Stages{
		Decode: a.profileOf("decode", list(a.named["decode"])), Port: int(a.int("port", 0)),
		PrefillFirst: a.named["order"] == "prefill-first",
	}
	if p, ok := a.named["prefill"]; ok {
		s.Prefill = a.profileOf("prefill", list(p))
	}
	if p, ok := a.named["encode"]; ok {
		s.Encode = a.profileOf("encode", list(p))
	}
	switch d := a.named["decider"]; d {
	case "":
	case "always":
		s.PrefillIf = profile.NewAlways("")
	default:
		s.PrefillIf = profile.NewPrefixBased("", profile.PrefixBasedParameters{
			NonCachedTokens: a.int("decider", 0), PromptTokens: a.int("prompt", 0),
		})
	}
	if a.named["images"] != "" {
		s.EncodeIf = profile.NewAlwaysMultimodal("")
	}
	return profile.NewDisagg("", s)
}

// by-header NAME:PLUGIN,... NAME:PLUGIN,... [default=NAME]
func (a args) byHeader() scheduler.Policy {
	var profiles []*scheduler.Profile
	for _, word := range a.words[1:] {
		name, plugins, _ := strings.Cut(word, ":")
		profiles = append(profiles, a.profileOf(name, list(plugins)))
	}
	p := profile.DefaultHeaderParameters()
	if d := a.named["default"]; d != "" {
		p.DefaultProfile = d
	}
	return profile.NewByHeader("", p, profiles)
}

// filter makes a filter with parameters: [max-waiting=N] [fallback=yes] [penalty-ms=N]
// [session=STRATEGY] [top=N] [near=LEVEL].
func (a args) filter(typ string) scheduler.Filter {
	switch typ {
	case filter.UtilizationType:
		most := float64(a.int("max-waiting", 0))
		return filter.NewUtilization("", filter.UtilizationParameters{
			Conditions:      []filter.Condition{{Metric: filter.WaitingQueue, MaxValue: &most}},
			FallbackOnEmpty: a.named["fallback"] != "",
		})
	case filter.PrefixAffinityType:
		p := filter.DefaultPrefixAffinityParameters()
		p.MaxTTFTPenaltyMs = float64(a.int("penalty-ms", 18_000))
		return filter.NewPrefixAffinity("", p)
	case filter.SessionAffinityType:
		return filter.NewSessionAffinity("", session.New(session.Parameters{Strategy: a.named["session"]}, 0))
	case filter.AttributeType:
		p := filter.AttributeParameters{Attribute: "first", Algorithm: filter.AttributeAlgorithm{Type: "topK"}}
		p.Algorithm.TopK = &struct {
			K              int   `json:"k"`
			HigherIsBetter *bool `json:"higherIsBetter"`
		}{K: int(a.int("top", 1))}
		return filter.NewAttribute("", p, 0)
	}
	return filter.NewTopology("", filter.TopologyParameters{MinAffinity: a.named["near"]}, topology.DefaultLabels())
}

func (a args) scorer(typ string) scheduler.Scorer {
	switch typ {
	case scorer.QueueType:
		return scorer.NewQueue("")
	case scorer.RunningRequestsType:
		return scorer.NewRunningRequests("")
	case scorer.KVCacheUtilizationType:
		return scorer.NewKVCacheUtilization("")
	case scorer.PrefixCacheType:
		return scorer.NewPrefixCache("", scorer.DefaultPrefixCacheParameters())
	case scorer.TokenLoadType:
		return scorer.NewTokenLoad("", scorer.TokenLoadParameters{QueueThresholdTokens: 10_000})
	case scorer.ActiveRequestType:
		return scorer.NewActiveRequest("", scorer.DefaultActiveRequestParameters())
	case scorer.LoadAwareType:
		return scorer.NewLoadAware("", scorer.DefaultLoadAwareParameters())
	case scorer.LoRAAffinityType:
		return scorer.NewLoRAAffinity("")
	case scorer.SessionAffinityType:
		return scorer.NewSessionAffinity("", session.New(session.Parameters{Strategy: a.named["session"]}, 0))
	case scorer.ContextLengthType:
		p := scorer.DefaultContextLengthParameters()
		p.EnableFiltering = a.named["filtering"] != ""
		return scorer.NewContextLength("", p)
	case scorer.HeaderLabelType:
		return scorer.NewHeaderLabel("", scorer.HeaderLabelParameters{HeaderName: "x-zone", LabelKey: a.named["label"]})
	case scorer.AttributeType:
		p := scorer.AttributeParameters{AttributeKey: "first"}
		p.Algorithm.Type = "linear_lower_is_better"
		return scorer.NewAttribute("", p, 0)
	case scorer.TopologyType:
		return scorer.NewTopology("", topology.DefaultLabels())
	case scorer.NoHitLRUType:
		return scorer.NewNoHitLRU("", scorer.DefaultNoHitLRUParameters())
	}
	a.t.Fatalf("%q: unknown plugin %s", a.line, typ)
	return nil
}
