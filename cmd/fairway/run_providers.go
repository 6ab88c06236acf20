package main

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/credentials/env"
	"github.com/fairway-ai/fairway/epp/objectives"
	"github.com/fairway-ai/fairway/gateway/airoute"
	"github.com/fairway-ai/fairway/gateway/xds"
	"github.com/fairway-ai/fairway/pool/file"
)

// aiConfig is what a configuration has besides pools.
type aiConfig struct {
	rules   *airoute.Config
	secrets *airoute.Secrets
	// objectives are priorities and rewrites of models; nil for none.
	objectives *objectives.Objects
}

// aiOf is the rules and backends of a configuration, which may be none.
func aiOf(c *file.Config) *aiConfig {
	if a, ok := c.Other.(*aiConfig); ok {
		return a
	}
	return &aiConfig{rules: &airoute.Config{}}
}

// beside is what a file has besides pools, as it is written.
type beside struct {
	ai         *airoute.Objects
	objectives *objectives.Objects
}

// fileLoader reads pools, and beside them AI objects, InferenceObjectives and
// InferenceModelRewrites.
func fileLoader() *file.Loader {
	return &file.Loader{Other: func(name string, data []byte) ([]byte, any, error) {
		rest, known, err := objectives.Decode(name, data)
		if err != nil {
			return rest, nil, err
		}
		rest, ai, err := airoute.Decode(name, rest, os.LookupEnv)
		if ai == nil && known == nil {
			return rest, nil, err
		}
		return rest, &beside{ai, known}, err
	}}
}

// resolveAI turns the objects that a loader found into rules and backends.
func resolveAI(c *file.Config) error {
	found, ok := c.Other.(*beside)
	if !ok {
		return nil
	}
	a := &aiConfig{rules: &airoute.Config{}, objectives: found.objectives}
	if found.ai != nil {
		var pools []string
		for i := range c.Pools {
			pools = append(pools, c.Pools[i].FullName())
		}
		rules, err := airoute.FromObjects(found.ai, pools)
		if err != nil {
			return err
		}
		c.Warnings = append(c.Warnings, rules.Warnings...)
		a.rules, a.secrets = rules, &found.ai.Secrets
	}
	c.Other = a
	return nil
}

// providersHere are rules for the providers that the environment configures, nil when
// there are none.
func providersHere(log *slog.Logger) *airoute.Config {
	found := env.Detect(env.Environment{Lookup: os.LookupEnv, FileExists: func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && !info.IsDir()
	}})
	for _, w := range found.Warnings {
		log.Warn(w)
	}
	if len(found.Providers) == 0 {
		return nil
	}
	return airoute.FromProviders(found.Providers)
}

// withPool puts a rule for a pool's only model before the others.
func withPool(c *airoute.Config, model, pool string) *airoute.Config {
	c.Rules = slices.Insert(c.Rules, 0, airoute.Rule{
		Name: "env/simulated", Matches: []airoute.Match{{Model: airoute.Equal(model)}}, Attempts: 1,
		Groups: [][]airoute.Target{{{Pool: pool, Weight: 1}}},
	})
	return c
}

// announce tells which providers there are and which models go where, and never a key.
func (a *aiConfig) announce(say func(string, ...any)) {
	for i := range a.rules.Backends {
		b := &a.rules.Backends[i]
		scheme := "https://"
		if b.TLS.Off {
			scheme = "http://"
		}
		say("provider "+b.Name, "url", scheme+b.Authority(), "schema", string(b.Provider.Schema),
			"models", strings.Join(a.rules.ServedBy(b.Name), ", "))
	}
}

// example is a model to try, by what a provider is known for.
func (a *aiConfig) example() string {
	if m := a.rules.Models(); len(m) > 0 {
		return m[0].Name
	}
	for _, b := range a.rules.Backends {
		for known, model := range map[string]string{
			"openai": "gpt-4o-mini", "azure": "gpt-4o-mini", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash",
			"vertex": "gemini-2.5-flash", "bedrock": "amazon.nova-lite-v1:0", "cohere": "command-a-03-2025",
		} {
			if b.Name == known && !(known == "openai" && !strings.HasSuffix(b.Host, "openai.com")) {
				return model
			}
		}
	}
	return "YOUR-MODEL"
}

// tryIt are examples for both APIs.
func (a *aiConfig) tryIt(address string) string {
	return fmt.Sprintf(`
Try it, with OpenAI's API or with Anthropic's:

  curl http://%s/v1/chat/completions -H 'content-type: application/json' -d '{
    "model": "%[2]s", "messages": [{"role": "user", "content": "Why is the sky blue?"}]}'

  curl http://%[1]s/v1/messages -H 'content-type: application/json' -d '{
    "model": "%[2]s", "max_tokens": 200, "messages": [{"role": "user", "content": "Why is the sky blue?"}]}'

`, address, a.example())
}

// unionRouting is next with the rules and providers of both.
func unionRouting(next, old xds.Routing) xds.Routing {
	for _, r := range old.Rules {
		if !slices.ContainsFunc(next.Rules, func(x xds.Rule) bool { return x.Name == r.Name }) {
			next.Rules = append(next.Rules, r)
		}
	}
	for _, p := range old.Providers {
		if !slices.ContainsFunc(next.Providers, func(x xds.Provider) bool { return x.Name == p.Name }) {
			next.Providers = append(next.Providers, p)
		}
	}
	return next
}
