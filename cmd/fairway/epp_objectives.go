package main

import (
	"context"
	"log/slog"
	"slices"

	"k8s.io/client-go/rest"

	"github.com/fairway-ai/fairway/epp/objectives"
	"github.com/fairway-ai/fairway/pool/file"
)

// objectivesLoader reads files of endpoints that may have InferenceObjective and
// InferenceModelRewrite objects, too.
func objectivesLoader() *file.Loader {
	return &file.Loader{Other: func(name string, data []byte) ([]byte, any, error) {
		rest, found, err := objectives.Decode(name, data)
		if found == nil {
			return rest, nil, err
		}
		return rest, found, err
	}}
}

// setObjectives tells a store what a file of objectivesLoader says, or one of
// fileLoader that is resolved.
func setObjectives(store *objectives.Store, c *file.Config) {
	o, ok := c.Other.(*objectives.Objects)
	if !ok {
		o = aiOf(c).objectives
	}
	if o == nil {
		o = &objectives.Objects{}
	}
	store.Set(o.Objectives, o.Rewrites)
}

// followObjectives fills a store from the namespaces of the flags' pools until ctx
// ends.
func followObjectives(store *objectives.Store, config *rest.Config, c *clusterFlags, log *slog.Logger) (func(context.Context) error, error) {
	k, err := objectives.NewFromKube(config, store, objectives.KubeOptions{Namespaces: c.namespaces(), Log: log})
	if err != nil {
		return nil, err
	}
	return k.Run, nil
}

// namespaces are those of the flags' pools, none for all.
func (c *clusterFlags) namespaces() []string {
	if c.allPools {
		return nil
	}
	s, err := c.scope()
	if err != nil || s.Selector != nil {
		return []string{c.poolNamespace}
	}
	var names []string
	for _, p := range s.Pools {
		if !slices.Contains(names, p.Namespace) {
			names = append(names, p.Namespace)
		}
	}
	return names
}
