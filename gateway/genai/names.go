package genai

import (
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/egress"
)

// providers are gen_ai.provider.name by the schema that a backend speaks. That of
// OpenAI is also other providers', whom server.address tells apart.
var providers = map[aibackend.Schema]string{
	aibackend.OpenAI:       "openai",
	aibackend.AzureOpenAI:  "azure.ai.openai",
	aibackend.Anthropic:    "anthropic",
	aibackend.AWSBedrock:   "aws.bedrock",
	aibackend.AWSAnthropic: "aws.bedrock",
	aibackend.GCPVertexAI:  "gcp.vertex_ai",
	aibackend.GCPAnthropic: "gcp.vertex_ai",
	aibackend.Cohere:       "cohere",
}

// providerPool is the provider of a pool that is spoken to in the client's own API.
const providerPool = "self_hosted"

func providerOf(o *egress.Outcome) string {
	switch name, ok := providers[o.Schema]; {
	case ok:
		return name
	case o.Schema == "":
		return providerPool
	}
	return strings.ToLower(string(o.Schema))
}

// errorType is error.type: the status that a backend refused with, or a word; "" for a
// try that went well.
func errorType(o *egress.Outcome) string {
	switch {
	case o.Status == 0:
		return "no_response"
	case o.Status < 100 || o.Status > 599:
		return "_OTHER"
	case o.Status < 200 || o.Status > 299:
		return strconv.Itoa(o.Status)
	case o.ErrorCode != "":
		return "stream_error"
	case !o.Complete:
		return "incomplete"
	}
	return ""
}

// server is server.address and server.port, which is "" where it is the scheme's own.
func server(host string) (address, port string) {
	if a, p, err := net.SplitHostPort(host); err == nil {
		return a, p
	}
	return strings.Trim(host, "[]"), ""
}

const (
	// other is a model that nobody named.
	other = "other"
	// maxModels bounds the models of the configuration that have series of their own.
	maxModels = 1000
	// maxAnswering bounds the models that only answers name.
	maxAnswering = 100
)

// models are the names that may be labels.
type models struct {
	named atomic.Pointer[map[string]bool]

	mu        sync.Mutex
	answering map[string]bool // names that only backends use, guarded by mu
}

// set takes the names of rules and backends.
func (m *models) set(c *airoute.Config) {
	all := map[string]bool{}
	add := func(name string) {
		if name != "" && len(all) < maxModels {
			all[name] = true
		}
	}
	for i := range c.Rules {
		r := &c.Rules[i]
		for k := range r.Matches {
			add(strings.TrimPrefix(r.Matches[k].Model.Exact, r.TrimModel))
		}
		for _, g := range r.Groups {
			for _, t := range g {
				add(t.Model)
			}
		}
	}
	for i := range c.Backends {
		b := &c.Backends[i]
		add(b.Provider.Model)
		for _, name := range b.Models {
			add(name)
		}
	}
	m.named.Store(&all)
}

func (m *models) isNamed(name string) bool {
	named := m.named.Load()
	return named != nil && (*named)[name]
}

// request is the label of a model that a client may have chosen.
func (m *models) request(name string) string {
	if name == "" || m.isNamed(name) {
		return name
	}
	return other
}

// response is the label of a model that a backend says has answered. A backend that
// repeats what it was asked for tells nothing but what a client chose.
func (m *models) response(o *egress.Outcome) string {
	name := o.AnsweredModel
	switch {
	case name == "" || m.isNamed(name):
		return name
	case o.Failed() || name == o.Model || name == o.SentModel:
		return other
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.answering[name] {
		if len(m.answering) >= maxAnswering {
			return other
		}
		if m.answering == nil {
			m.answering = map[string]bool{}
		}
		m.answering[name] = true
	}
	return name
}
