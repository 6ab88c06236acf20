package objectives

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

const (
	defaultNamespace = "default"
	maxObjects       = 1024
	maxProblems      = 100
)

// Objects are what a file has of both kinds.
type Objects struct {
	Objectives []Objective
	Rewrites   []Rewrite
}

// Decode takes InferenceObjective and InferenceModelRewrite objects out of a YAML file
// of several documents. What is left has as many lines as before, so that errors about
// it name the right ones. It returns nil objects when there are none. The error has one
// line per mistake, file:line: what is wrong.
func Decode(name string, data []byte) (rest []byte, o *Objects, err error) {
	var found Objects
	var errs []error
	n, line := 0, 0
	for len(data) > 0 {
		doc := firstDocument(data)
		data = data[len(doc):]
		kind, at := kindOf(doc)
		if kind == "" {
			rest = append(rest, doc...)
		} else {
			rest = append(rest, bytes.Repeat([]byte("\n"), bytes.Count(doc, []byte("\n")))...)
			if n++; n > maxObjects {
				return rest, nil, fmt.Errorf("%s:%d: there are more than %d objects", name, line+at, maxObjects)
			}
			if err := found.add(kind, doc, n); err != nil && len(errs) < maxProblems {
				errs = append(errs, fmt.Errorf("%s:%d: %s: %w", name, line+at, kind, err))
			}
		}
		line += bytes.Count(doc, []byte("\n"))
	}
	if n == 0 {
		return rest, nil, nil
	}
	return rest, &found, errors.Join(errs...)
}

// add adds a document's object, the nth of the file.
func (o *Objects) add(kind string, doc []byte, n int) error {
	if kind == KindObjective {
		var object objective
		if err := decode(doc, &object, &object.head); err != nil {
			return err
		}
		read, err := object.read()
		read.Namespace = cmp.Or(read.Namespace, defaultNamespace)
		o.Objectives = append(o.Objectives, read)
		return err
	}
	var object modelRewrite
	if err := decode(doc, &object, &object.head); err != nil {
		return err
	}
	read, err := object.read()
	read.Namespace = cmp.Or(read.Namespace, defaultNamespace)
	if read.Created.IsZero() {
		read.Created = inFile(n)
	}
	o.Rewrites = append(o.Rewrites, read)
	return err
}

// inFile orders objects of files as they are there: the nth was created n nanoseconds
// after the beginning.
func inFile(n int) time.Time { return time.Unix(0, int64(n)).UTC() }

// decode decodes a document strictly; h is the head of object.
func decode(doc []byte, object any, h *head) error {
	if err := sigsyaml.UnmarshalStrict(doc, object); err != nil {
		return err
	}
	versions := []string{Group + "/" + Version, LegacyGroup + "/" + Version}
	switch {
	case !slices.Contains(versions, h.APIVersion):
		return fmt.Errorf("apiVersion: is %.60q: must be %s or %s", h.APIVersion, versions[0], versions[1])
	case h.Metadata.Name == "":
		return errors.New("metadata.name: is missing")
	}
	return nil
}

// kindOf is the kind of a document that is one of ours, and its line; "" for others,
// and for what is not YAML, which is left to those who read the rest.
func kindOf(doc []byte) (kind string, line int) {
	if !bytes.Contains(doc, []byte(KindObjective)) && !bytes.Contains(doc, []byte(KindRewrite)) {
		return "", 0
	}
	var n yaml.Node
	if yaml.Unmarshal(doc, &n) != nil || len(n.Content) == 0 || n.Content[0].Kind != yaml.MappingNode {
		return "", 0
	}
	root := n.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		if v := root.Content[i+1].Value; root.Content[i].Value == "kind" && (v == KindObjective || v == KindRewrite) {
			return v, root.Line
		}
	}
	return "", 0
}

// firstDocument is the document at the start of data with its own separator, up to the
// next one.
func firstDocument(data []byte) []byte {
	for at := 0; ; {
		n := bytes.IndexByte(data[at:], '\n')
		if n < 0 {
			return data
		}
		if at += n + 1; separator(data[at:]) {
			return data[:at]
		}
	}
}

func separator(line []byte) bool {
	return bytes.HasPrefix(line, []byte("---")) && (len(line) == 3 || bytes.IndexByte([]byte(" \t\r\n"), line[3]) >= 0)
}
