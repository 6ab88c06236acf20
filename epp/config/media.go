package config

import "github.com/fairway-ai/fairway/scheduler/scorer"

// mediaCache are the parameters of mm-embeddings-cache-scorer.
type mediaCache struct {
	// ProducerName names the producer to read; "" is the only one, or the one that is
	// there anyway.
	ProducerName string `json:"producerName"`
}

// mediaMemory finds the producer of that name, or makes the one that is there anyway.
func (l *loader) mediaMemory(p *plugin, name string) *scorer.MediaMemory {
	if name != "" && (name != scorer.MediaMemoryType || l.find(name) != nil) {
		path, n := p.path+".parameters.producerName", child(p.node, "parameters", "producerName")
		producer := l.ref(name, path, n, kindProducer)
		if producer == nil {
			return nil
		}
		m, ok := producer.built.(*scorer.MediaMemory)
		if !ok {
			l.fail(n, path, "%q is a %s: must name an %s", name, producer.typ, scorer.MediaMemoryType)
		}
		return m
	}
	for _, other := range l.plugins {
		if m, ok := other.built.(*scorer.MediaMemory); ok {
			return m
		}
	}
	if l.media == nil {
		l.media = scorer.NewMediaMemory(scorer.DefaultMediaMemoryParameters())
	}
	return l.media
}

// mediaUnread warns of producers that no scorer reads.
func (l *loader) mediaUnread() {
	for _, p := range l.plugins {
		if p.typ == scorer.MediaCacheType {
			return
		}
	}
	for _, p := range l.plugins {
		if p.typ == scorer.MediaMemoryType {
			l.warn(p.node, p.path, "has no effect: no %s reads it", scorer.MediaCacheType)
		}
	}
}
