package config

import "slices"

// matchProducers checks the references to what knows which prompts are cached: there is
// one index, and the precise producer's is exact for the endpoints whose events are
// followed.
func (l *loader) matchProducers() {
	exact := ""
	for _, p := range l.plugins {
		if _, ok := p.built.(preciseIndex); ok {
			exact = p.name
			break
		}
	}
	for _, p := range l.plugins {
		const field = "prefixMatchInfoProducerName"
		n := present(p.node, "parameters."+field)
		path := p.path + ".parameters." + field
		switch {
		case p.external:
		case n == nil || n.Value == "":
			if exact != "" && p.typ == "prefix-cache-scorer" {
				l.warn(p.node, path, "is missing, and %q follows engines' events: matches are exact of the endpoints that are followed, and approximate of others; name it", exact)
			}
		case n.Value == approxProducer && l.find(n.Value) == nil:
			if exact != "" {
				l.merged(p, path, n.Value, exact)
			}
		default:
			if l.matchProducer(n.Value, path, p) && exact != "" && l.find(n.Value).typ == approxProducer {
				l.merged(p, path, n.Value, exact)
			}
		}
	}
	l.needTokens(exact)
	for _, p := range l.plugins {
		if b, ok := p.built.(preciseIndex); ok && b.scorer != nil {
			p.built = b.scorer
		}
	}
}

// merged warns of a plugin that asks for approximate matches where others are exact.
func (l *loader) merged(p *plugin, path, name, exact string) {
	l.warn(present(p.node, "parameters.prefixMatchInfoProducerName"), path, "names %q, and %q follows engines' events: there is one index, so matches are merged per endpoint, exact where an engine's events are followed and approximate elsewhere", name, exact)
}

// matchProducer reports whether a plugin of that name knows what is cached; it records
// an error when none does.
func (l *loader) matchProducer(name, path string, p *plugin) bool {
	n := present(p.node, "parameters.prefixMatchInfoProducerName")
	known := []string{approxProducer, preciseProducer, preciseScorer}
	target := l.find(name)
	if target == nil {
		names := []string{approxProducer}
		for _, o := range l.plugins {
			if slices.Contains(known, o.typ) {
				names = append(names, o.name)
			}
		}
		l.fail(n, path, "no producer of prefix matches is named %s%s", clip(name), suggest(name, slices.Compact(names)))
		return false
	}
	if !target.external && !slices.Contains(known, target.typ) {
		l.fail(n, path, "%q is a %s: must name an %s or a %s", name, target.typ, approxProducer, preciseProducer)
		return false
	}
	return true
}

// unreadTokens warns of a token-producer that has engines asked for token ids that
// nothing compares.
func (l *loader) unreadTokens() {
	if l.options.KVEvents {
		return
	}
	for _, p := range l.plugins {
		if t, ok := p.built.(Tokens); !ok || !t.Render {
			continue
		}
		for _, field := range []string{"vllm", "modelName", "backend", "udsTokenizerConfig"} {
			if n := present(p.node, "parameters."+field); n != nil {
				l.warn(n, p.path+".parameters."+field, "has no effect: nothing reads token ids, so no engine is asked for them; declare a %s, follow engines with --kv-events, or remove it", preciseProducer)
				break
			}
		}
	}
}

// needTokens sees to it that the precise index gets token ids: without a token-producer
// the pool's endpoints are asked.
func (l *loader) needTokens(exact string) {
	if exact == "" {
		l.unreadTokens()
	}
	if exact == "" || l.config.Tokens.Render {
		return
	}
	for _, p := range l.plugins {
		if p.kind == kindProducer && (p.typ == tokenProducerType || p.typ == "tokenizer") {
			l.fail(p.node, p.path+".parameters", "estimates tokens, and %q needs their ids: write vllm: {url: …}, or vllm: {endpointDiscovery: {}} to ask the pool's endpoints", exact)
			return
		}
	}
	l.config.Tokens = askEndpoints()
}
