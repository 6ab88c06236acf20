package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/fairway-ai/fairway/scheduler"
)

// Kind is where a plugin can be used in a scheduling profile.
type Kind string

// The kinds.
const (
	KindFilter Kind = "filter"
	KindScorer Kind = "scorer"
	KindPicker Kind = "picker"
)

// Type is a type of plugins that a configuration may declare.
type Type struct {
	name         string
	kind         Kind
	experimental bool
	build        func(name string, parameters json.RawMessage) (any, error)
}

// Filter makes a type of filters. name is what a configuration calls it, such as
// "canary-filter". defaults returns the parameters where a configuration says nothing;
// nil means the zero value. build gets the plugin's name in the configuration and its
// parameters, which were decoded strictly, and checked if they have a Validate method.
func Filter[P any](name string, defaults func() P, build func(name string, p P) (scheduler.Filter, error)) Type {
	return newType(name, KindFilter, defaults, func(n string, p P) (any, error) { return build(n, p) })
}

// Scorer makes a type of scorers; see [Filter].
func Scorer[P any](name string, defaults func() P, build func(name string, p P) (scheduler.Scorer, error)) Type {
	return newType(name, KindScorer, defaults, func(n string, p P) (any, error) { return build(n, p) })
}

// Picker makes a type of pickers; see [Filter].
func Picker[P any](name string, defaults func() P, build func(name string, p P) (scheduler.Picker, error)) Type {
	return newType(name, KindPicker, defaults, func(n string, p P) (any, error) { return build(n, p) })
}

func newType[P any](name string, k Kind, defaults func() P, build func(name string, p P) (any, error)) Type {
	return Type{name: name, kind: k, build: func(n string, raw json.RawMessage) (any, error) {
		var p P
		if defaults != nil {
			p = defaults()
		}
		if err := decode(raw, &p); err != nil {
			return nil, err
		}
		if v, ok := any(p).(interface{ Validate() error }); ok {
			if err := v.Validate(); err != nil {
				return nil, err
			}
		}
		return build(n, p)
	}}
}

// Experimental returns the type as one that a configuration may name only with
// --allow-experimental-plugins.
func (t Type) Experimental() Type {
	t.experimental = true
	return t
}

// Name is what a configuration calls the type.
func (t Type) Name() string { return t.name }

// Kind is where its plugins can be used.
func (t Type) Kind() Kind { return t.kind }

// IsExperimental reports whether experimental plugins must be allowed.
func (t Type) IsExperimental() bool { return t.experimental }

// Build makes a plugin: a scheduler.Filter, Scorer or Picker. parameters is JSON; empty
// means none.
func (t Type) Build(name string, parameters json.RawMessage) (any, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	built, err := t.build(name, parameters)
	if err != nil {
		return nil, err
	}
	if built == nil {
		return nil, fmt.Errorf("plugin type %q built nothing", t.name)
	}
	return built, nil
}

// Validate reports whether the type was made by this package and has a usable name.
func (t Type) Validate() error {
	if t.build == nil {
		return errors.New("a plugin type is empty: make it with plugin.Filter, Scorer or Picker")
	}
	if t.name == "" || strings.Trim(t.name, "abcdefghijklmnopqrstuvwxyz0123456789-./") != "" {
		return fmt.Errorf("plugin type %.60q: a name has lower-case letters, digits, '-', '.' and '/'", t.name)
	}
	return nil
}

// decode reads parameters over what p has, without unknown fields.
func decode(raw json.RawMessage, p any) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the parameters are more than one value")
	}
	return nil
}
