package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/fairway-ai/fairway/api/v1alpha1"
	"github.com/fairway-ai/fairway/scheduler/session"
)

// sessionID are the parameters of session-id-producer.
type sessionID struct {
	// HeaderName or CookieName is where a session's identifier is.
	HeaderName string `json:"headerName"`
	CookieName string `json:"cookieName"`
	// LRUSize is how many sessions are remembered, TTL for how long when unused; 0
	// leaves it to the plugin that keeps them.
	LRUSize int      `json:"lruSize"`
	TTL     Duration `json:"ttl"`
}

const maxSessions = 1 << 20

// Validate implements validator.
func (s sessionID) Validate() error {
	switch {
	case s.HeaderName != "" && s.CookieName != "":
		return errors.New("headerName and cookieName: set one of them")
	case s.LRUSize < 0 || s.LRUSize > maxSessions:
		return fmt.Errorf("lruSize is %d: must be 1 to %d", s.LRUSize, maxSessions)
	case s.TTL.Duration < 0:
		return fmt.Errorf("ttl is %v: must be above 0", s.TTL.Duration)
	}
	return nil
}

// session makes what keeps sessions. An attribute as their source is that of a
// session-id-producer, which says where the identifier is.
func (l *loader) session(p *plugin, params session.Parameters) *session.Affinity {
	l.sessionUnread(p, params)
	written := params.SessionIDConfig.Sources
	size := 0
	use := func(s sessionID) session.Source {
		size = max(size, s.LRUSize)
		if params.SessionIDConfig.EvictionTTLSeconds == 0 && params.EvictionTTLSeconds == 0 {
			params.SessionIDConfig.EvictionTTLSeconds = s.TTL.Seconds()
		}
		if s.CookieName != "" {
			return session.Source{Cookie: s.CookieName}
		}
		return session.Source{Header: cmp.Or(s.HeaderName, session.IDHeader)}
	}
	var sources []session.Source
	for i, s := range params.SessionIDConfig.Sources {
		if s.Attribute == "" {
			sources = append(sources, s)
			continue
		}
		if agent := l.agent(s.Attribute); agent != nil {
			sources = append(sources, agent...)
			continue
		}
		producer := l.producer(s.Attribute)
		if producer == nil {
			path := fmt.Sprintf("%s.parameters.sessionIdConfig.sources[%d].attribute", p.path, i)
			l.fail(item(child(p.node, "parameters", "sessionIdConfig", "sources"), i), path,
				"no plugin publishes %s: declare a session-id-producer, or name a header instead", clip(s.Attribute))
			continue
		}
		sources = append(sources, use(producer.built.(sessionID)))
	}
	if len(sources) == 0 && params.HeaderName == "" && params.ByID() {
		if producer := l.producer(sessionProducer); producer != nil {
			sources = append(sources, use(producer.built.(sessionID)))
		}
	}
	params.SessionIDConfig.Sources = written
	p.params = params.Effective()
	params.SessionIDConfig.Sources = sources
	return session.New(params, size)
}

// producer finds the session-id-producer whose attribute that is: one that is named
// in it, else the only one where the attribute is a session's.
func (l *loader) producer(attribute string) *plugin {
	var all []*plugin
	for _, p := range l.plugins {
		if p.typ != sessionProducer {
			continue
		}
		if strings.HasSuffix(attribute, p.name) {
			return p
		}
		all = append(all, p)
	}
	if name := strings.ToLower(attribute); len(all) == 1 && strings.Contains(name, "session") {
		return all[0]
	}
	return nil
}

// sessionUnread warns of parameters that do nothing.
func (l *loader) sessionUnread(p *plugin, params session.Parameters) {
	at := child(p.node, "parameters")
	l.warnAt(p, at, "missThreshold", "has no effect: a session moves when its endpoint is gone; remove it")
	unread, strategy := []string{"sessionIdConfig", "evictionTtlSeconds", "evictionSweepSeconds"}, session.EncodedEndpoint
	if params.ByID() {
		unread, strategy = []string{"encodedEndpointHeaderConfig"}, session.SessionID
	}
	for _, field := range unread {
		l.warnAt(p, at, field, "has no effect with the strategy "+strategy+"; remove it")
	}
	name := params.ProfileName
	if name == "" || len(l.spec.SchedulingProfiles) == 0 && name == "default" {
		return
	}
	if !slices.ContainsFunc(l.spec.SchedulingProfiles, func(s v1alpha1.SchedulingProfile) bool { return s.Name == name }) {
		l.warnAt(p, at, "profileName", "no scheduling profile is named "+clip(name)+": no session is ever kept")
	}
}
