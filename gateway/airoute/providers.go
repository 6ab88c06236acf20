package airoute

import (
	"net/url"
	"slices"
	"strings"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/credentials/env"
)

// Models that providers are known for, by the start of their names.
var (
	openAIModels  = []string{"gpt-", "o1", "o3", "o4", "chatgpt-", "text-embedding-"}
	bedrockModels = []string{
		"anthropic.", "amazon.", "meta.", "mistral.", "cohere.", "ai21.", "deepseek.", "openai.", "qwen.",
		"us.", "eu.", "apac.", "global.", "arn:aws",
	}
)

// claude are the models that several providers serve.
const claude = "claude-"

// FromProviders makes rules of what an environment configures. "NAME/model" leads to
// the provider of that name, a model that one is known for to that one, and all else to
// the only one, or to an OpenAI-compatible server of one's own.
func FromProviders(all []env.Provider) *Config {
	c := &Config{}
	for _, p := range all {
		b := fromProvider(p)
		c.Backends = append(c.Backends, b)
		c.add(Rule{Name: "env/" + p.Name + "/named", Matches: matchPrefixes(p.Name + "/"), TrimModel: p.Name + "/"}, b.Name)
	}
	taken := map[string]bool{}
	for _, p := range all {
		var prefixes []string
		for _, prefix := range knownFor(p, all) {
			if !taken[prefix] {
				taken[prefix] = true
				prefixes = append(prefixes, prefix)
			}
		}
		target := p.Name
		if p.Schema == env.GCPVertexAI && slices.Contains(prefixes, claude) {
			prefixes = slices.DeleteFunc(prefixes, func(s string) bool { return s == claude })
			b := fromProvider(p)
			b.Name, b.Provider.Schema = p.Name+"-anthropic", aibackend.GCPAnthropic
			c.Backends = append(c.Backends, b)
			c.add(Rule{Name: "env/" + b.Name, Matches: matchPrefixes(claude)}, b.Name)
		}
		if len(prefixes) > 0 {
			c.add(Rule{Name: "env/" + p.Name, Matches: matchPrefixes(prefixes...)}, target)
		}
	}
	if i := slices.IndexFunc(all, func(p env.Provider) bool { return len(all) == 1 || ownServer(p) }); i >= 0 {
		c.add(Rule{Name: "env/" + all[i].Name + "/any"}, all[i].Name)
	}
	return c
}

func (c *Config) add(r Rule, backend string) {
	r.Groups = [][]Target{{{Backend: backend, Weight: 1}}}
	r.Attempts = 1
	r.OwnedBy = backend
	c.Rules = append(c.Rules, r)
}

func matchPrefixes(all ...string) []Match {
	var out []Match
	for _, s := range all {
		out = append(out, Match{Model: HasPrefix(s)})
	}
	return out
}

// ownServer says that p speaks OpenAI's API and is not OpenAI.
func ownServer(p env.Provider) bool {
	return p.Name == "openai" && p.Host != "openai.com" && !strings.HasSuffix(p.Host, ".openai.com")
}

func knownFor(p env.Provider, all []env.Provider) []string {
	has := func(names ...string) bool {
		return slices.ContainsFunc(all, func(o env.Provider) bool { return slices.Contains(names, o.Name) })
	}
	switch p.Name {
	case "openai":
		if ownServer(p) && has("azure") {
			return nil
		}
		return openAIModels
	case "azure":
		return openAIModels
	case "anthropic":
		return []string{claude}
	case "bedrock":
		if !has("anthropic") {
			return append([]string{claude}, bedrockModels...)
		}
		return bedrockModels
	case "vertex":
		if !has("anthropic", "bedrock") {
			return []string{"gemini-", claude}
		}
		return []string{"gemini-"}
	case "gemini":
		return []string{"gemini-"}
	case "cohere":
		return []string{"command-", "embed-", "rerank-"}
	}
	return nil
}

func fromProvider(p env.Provider) Backend {
	b := Backend{
		Name: p.Name, Label: p.Name, Host: p.Host, Port: uint16(p.Port), TLS: TLS{Off: !p.TLS}, Credentials: p.Credentials,
		Provider: aibackend.Backend{Schema: aibackend.Schema(p.Schema), Version: p.Version, Project: p.Project, Region: p.Region},
	}
	base, err := url.PathUnescape(p.BasePath)
	if err != nil {
		base = p.BasePath
	}
	switch {
	case p.Schema == env.Anthropic && base != "":
		b.Provider.PathPrefix = base + "/v1"
	default:
		b.Provider.PathPrefix = base
	}
	return b
}
