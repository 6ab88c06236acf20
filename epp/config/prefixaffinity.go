package config

import (
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/scheduler/filter"
)

// tokensPenalty is what prefix-cache-affinity-filter had instead of maxTTFTPenaltyMs:
// how many more tokens may be in flight at an endpoint with a cached prompt.
const tokensPenalty = "maxTokensInFlightPenalty"

func buildPrefixAffinity(d *decoder, p *plugin, params *yaml.Node) any {
	tokens := take(params, tokensPenalty)
	a := decodeParams(d, p, params, filter.DefaultPrefixAffinityParameters())
	if tokens != nil {
		path := p.path + ".parameters." + tokensPenalty
		n, err := strconv.ParseUint(tokens.Value, 10, 48)
		if err != nil || a.PeakPrefillThroughput <= 0 {
			d.fail(tokens, path, "is %s: must be a whole number of tokens, and peakPrefillThroughput above 0", clip(tokens.Value))
			return filter.NewPrefixAffinity(p.name, a)
		}
		if n > 0 {
			limit := float64(n) / a.PeakPrefillThroughput * 1000
			if take(params, "maxTTFTPenaltyMs") != nil && a.MaxTTFTPenaltyMs > 0 {
				limit = min(limit, a.MaxTTFTPenaltyMs)
			}
			a.MaxTTFTPenaltyMs, p.params = limit, a
			number := &yaml.Node{Kind: yaml.ScalarNode, Value: strconv.FormatFloat(limit, 'f', -1, 64), Line: tokens.Line}
			params.Content = append(params.Content, text("maxTTFTPenaltyMs", tokens.Line), number)
		}
		d.warn(tokens, path, "is deprecated: write maxTTFTPenaltyMs: %.0f", a.MaxTTFTPenaltyMs)
	}
	return filter.NewPrefixAffinity(p.name, a)
}

// take removes a field of a mapping and returns its value, nil when it is not there.
func take(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	i := keyIndex(n, key)
	if i < 0 {
		return nil
	}
	value := n.Content[i+1]
	n.Content = slices.Delete(n.Content, i, i+2)
	return value
}
