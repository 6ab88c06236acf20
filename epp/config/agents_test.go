package config

import (
	"slices"
	"strings"
	"testing"
)

func TestAgentIdentity(t *testing.T) {
	load := func(parameters string) (*Config, error) {
		c, _, err := Options{Experimental: true}.Load([]byte("plugins:\n- type: agent-identity\n  parameters: " + parameters + "\n"))
		return c, err
	}
	c, err := load("{additionalSessionHeaders: [X-Mine]}")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"x-mine", "x-claude-code-session-id", "x-session-affinity", "session-id", "session_id"}; !slices.Equal(c.SessionHeaders, want) {
		t.Errorf("headers %v, want %v", c.SessionHeaders, want)
	}
	for parameters, want := range map[string]string{
		"{additionalSessionHeaders: ['']}":                                 "plugins[0].parameters: additionalSessionHeaders[0] is \"\": name a request header",
		"{additionalSessionHeaders: ['a b']}":                              "name a request header",
		"{additionalSessionHeader: [a]}":                                   "did you mean \"additionalSessionHeaders\"?",
		"{additionalSessionHeaders: [" + strings.Repeat("a, ", 32) + "a]}": "has 33 entries: at most 32",
	} {
		if _, err := load(parameters); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", parameters, err, want)
		}
	}
	if _, _, err := (Options{Experimental: true}).Load([]byte("plugins: [{type: agent-identity}, {type: agent-identity, name: b}]")); err == nil || !strings.Contains(err.Error(), "plugins[1]: there is a data producer already") {
		t.Errorf("two of them: %v", err)
	}
}
