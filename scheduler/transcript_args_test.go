package scheduler_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/filter"
	"github.com/fairway-ai/fairway/scheduler/picker"
	"github.com/fairway-ai/fairway/scheduler/scorer"
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
	var filters []scheduler.Filter
	var scorers []scheduler.Weighted
	params := picker.Parameters{MaxNumOfEndpoints: int(a.int("max", 3))}
	var pick scheduler.Picker = picker.NewMaxScore("", params)
	for _, word := range a.words[1:] {
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
		case picker.RandomType:
			pick = picker.NewRandom("", params)
		case picker.WeightedRandomType:
			pick = picker.NewWeightedRandom("", params)
		default:
			scorers = append(scorers, scheduler.Weighted{Scorer: a.scorer(typ), Weight: float32(weight)})
		}
	}
	return scheduler.NewProfile("profile", filters, scorers, pick)
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
		return scorer.NewSessionAffinity("")
	case scorer.NoHitLRUType:
		return scorer.NewNoHitLRU("", scorer.DefaultNoHitLRUParameters())
	}
	a.t.Fatalf("%q: unknown plugin %s", a.line, typ)
	return nil
}
