package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// follows reports whether a mistake at path comes of one that is told already: at the same
// place, or of what path is a part of.
func follows(told []error, path string) bool {
	return slices.ContainsFunc(told, func(err error) bool {
		at := field(err).Path
		return at == "" || path == at || strings.HasPrefix(path, at+".") || strings.HasPrefix(path, at+"[")
	})
}

// wrongKind is the error of a file whose kind is n, nil for the right one or none.
func wrongKind(n *yaml.Node) error {
	if n == nil || n.Value == "" || n.Value == v1alpha1.EndpointPickerConfigKind {
		return nil
	}
	return &FieldError{Line: n.Line, Path: "kind", Message: fmt.Sprintf("is %s: must be %s", clip(n.Value), v1alpha1.EndpointPickerConfigKind)}
}

// sectionsWrong reports whether a whole section of the file could not be read: what refers
// to it would be reported, and is not what is wrong.
func (l *loader) sectionsWrong() bool {
	return slices.ContainsFunc(l.errs[:l.told], func(err error) bool {
		return !strings.ContainsAny(field(err).Path, ".[")
	})
}

// byLine puts mistakes in the order of the file.
func byLine(errs []error) []error {
	slices.SortStableFunc(errs, func(a, b error) int { return cmp.Compare(field(a).Line, field(b).Line) })
	return errs
}

// field is what err says of a field; without a place for one that is about none.
func field(err error) *FieldError {
	var fe *FieldError
	if errors.As(err, &fe) {
		return fe
	}
	return &FieldError{}
}
