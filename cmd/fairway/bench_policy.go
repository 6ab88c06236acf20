package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/sim/replay"
)

// chosen are the policies that the flags name: those of --policy, which is the default
// alone where only files are named, and those of --policy-config after them. What the
// files warn of goes to errOut.
func (o *replayOptions) chosen(named bool, errOut io.Writer) ([]replay.Policy, error) {
	names := o.policies
	if len(o.policyFiles) > 0 && !named {
		names = []string{"default"}
	}
	policies, err := replay.Find(strings.Join(names, ","))
	if err != nil {
		return nil, fmt.Errorf("--policy: %w", err)
	}
	taken := map[string]bool{}
	for _, p := range policies {
		taken[p.Name] = true
	}
	for _, file := range o.policyFiles {
		p, warnings, err := policyOf(file)
		if err != nil {
			return nil, fmt.Errorf("--policy-config: %w", err)
		}
		if taken[p.Name] {
			return nil, fmt.Errorf("--policy-config: %s: another policy is called %s, too: rename the file", file, p.Name)
		}
		taken[p.Name] = true
		for _, w := range warnings {
			fmt.Fprintf(errOut, "%s: %v\n", file, w)
		}
		policies = append(policies, p)
	}
	return policies, nil
}

// policyOf reads an EndpointPickerConfig as a policy to replay, which is called like
// the file.
func policyOf(file string) (replay.Policy, []config.Warning, error) {
	data, err := readConfigFile(file)
	if err != nil {
		return replay.Policy{}, nil, err
	}
	options := config.Options{Experimental: true}
	read, warnings, err := options.Load(data)
	switch {
	case err != nil:
		return replay.Policy{}, nil, fmt.Errorf("%s: %w", file, err)
	case read.Policy == nil:
		return replay.Policy{}, nil, fmt.Errorf("%s: %w", file, errors.New("has no filters, scorers and pickers, so that the default policy decides: compare with --policy default"))
	}
	if _, one := read.Policy.(*scheduler.Profile); !one {
		return replay.Policy{}, nil, fmt.Errorf("%s: %w", file, errors.New("picks endpoints for several stages or by several profiles, and replayed endpoints have no roles"))
	}
	again := options.Policies(read, data)
	base := filepath.Base(file)
	return replay.Policy{
		Name: strings.TrimSuffix(base, filepath.Ext(base)),
		What: "the EndpointPickerConfig in " + file,
		New:  func([]scheduler.Endpoint) scheduler.Policy { return again() },
	}, warnings, nil
}
