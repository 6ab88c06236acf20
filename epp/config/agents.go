package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fairway-ai/fairway/scheduler/session"
)

const agentIdentityType = "agent-identity"

// agentHeaders are in which coding agents say what session a request is of: Claude Code,
// OpenCode, Codex, and Codex in earlier versions.
func agentHeaders() []string {
	return []string{"x-claude-code-session-id", "x-session-affinity", "session-id", "session_id"}
}

// agentIdentity are the parameters of agent-identity.
type agentIdentity struct {
	// AdditionalSessionHeaders are request headers that are looked at before those of
	// the agents that are known.
	AdditionalSessionHeaders []string `json:"additionalSessionHeaders"`
}

// maxSessionHeaders bounds what each request is searched for.
const maxSessionHeaders = 32

// Validate implements validator.
func (a agentIdentity) Validate() error {
	if n := len(a.AdditionalSessionHeaders); n > maxSessionHeaders {
		return fmt.Errorf("additionalSessionHeaders has %d entries: at most %d are allowed", n, maxSessionHeaders)
	}
	for i, h := range a.AdditionalSessionHeaders {
		if strings.TrimSpace(h) == "" || strings.ContainsAny(h, " \t\r\n:") {
			return fmt.Errorf("additionalSessionHeaders[%d] is %.60q: name a request header", i, h)
		}
	}
	return nil
}

// headers are those that say what session a request is of, in order and lower case.
func (a agentIdentity) headers() []string {
	all := slices.Concat(a.AdditionalSessionHeaders, agentHeaders())
	for i, h := range all {
		all[i] = strings.ToLower(h)
	}
	return all
}

// agent are the sources that the attribute of an agent-identity stands for; nil where
// the attribute is another's, or nobody's.
func (l *loader) agent(attribute string) (sources []session.Source) {
	for _, p := range l.plugins {
		if a, ok := p.built.(agentIdentity); ok && (strings.HasSuffix(attribute, p.name) || attribute == agentIdentityType) {
			for _, h := range a.headers() {
				sources = append(sources, session.Source{Header: h})
			}
			return sources
		}
	}
	return nil
}
