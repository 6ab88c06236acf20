package config

import (
	"strings"
	"testing"
)

// TestTokensPenalty: a bound in tokens is one in time.
func TestTokensPenalty(t *testing.T) {
	for params, want := range map[string]string{
		"{maxTokensInFlightPenalty: 15928}":                                            "maxTTFTPenaltyMs: 1000",
		"{maxTokensInFlightPenalty: 15928, maxTTFTPenaltyMs: 0}":                       "maxTTFTPenaltyMs: 1000",
		"{maxTokensInFlightPenalty: 15928, maxTTFTPenaltyMs: 500}":                     "maxTTFTPenaltyMs: 500",
		"{maxTokensInFlightPenalty: 100, peakPrefillThroughput: 1000}":                 "maxTTFTPenaltyMs: 100",
		"{maxTokensInFlightPenalty: 0, maxTTFTPenaltyMs: 7}":                           "maxTTFTPenaltyMs: 7",
		"{maxTokensInFlightPenalty: -1}":                                               "",
		"{maxTokensInFlightPenalty: many}":                                             "",
		"{maxTokensInFlightPenalty: 1, peakPrefillThroughput: 0, maxTTFTPenaltyMs: 0}": "",
	} {
		text := "plugins: [{type: prefix-cache-affinity-filter, parameters: " + params + "}]\nschedulingProfiles: [{name: d, plugins: [{pluginRef: prefix-cache-affinity-filter}]}]"
		got, warnings, err := Options{}.Explain([]byte(text))
		switch {
		case want == "":
			if err == nil || !strings.Contains(err.Error(), "must be a whole number of tokens") {
				t.Errorf("%s: %v", params, err)
			}
		case err != nil || !strings.Contains(string(got), want+" ") && !strings.Contains(string(got), want+"\n"):
			t.Errorf("%s: %v\n%s", params, err, got)
		case len(warnings) != 1:
			t.Errorf("%s: warnings %v", params, warnings)
		}
	}
}
