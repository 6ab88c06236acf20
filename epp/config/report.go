package config

import (
	"errors"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/epp/report"
)

const reporterType = "request-attribute-reporter"

// attributeReporter are the parameters of request-attribute-reporter.
type attributeReporter struct {
	// Attributes has exactly one entry: a second attribute takes a second plugin.
	Attributes []reportedAttribute `json:"attributes"`
}

// reportedAttribute is a number that is told of responses.
type reportedAttribute struct {
	// Key is where in the dynamic metadata it is told.
	Key struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"key"`
	// Expression gives the number, Condition whether it is told.
	Expression string `json:"expression"`
	Condition  string `json:"condition"`
}

func buildAttributeReporter(d *decoder, p *plugin, params *yaml.Node) any {
	before := len(d.errs)
	q := decodeParams(d, p, params, attributeReporter{})
	if len(d.errs) > before {
		return nil
	}
	path, list := p.path+".parameters.attributes", child(params, "attributes")
	if len(q.Attributes) != 1 {
		if params == nil {
			params = p.node
		}
		d.fail(orSelf(params, "attributes"), path, "has %d entries: must have exactly one; declare a %s for each attribute", len(q.Attributes), reporterType)
		return nil
	}
	a := &q.Attributes[0]
	if a.Key.Namespace == "" {
		a.Key.Namespace = report.DefaultNamespace
	}
	p.params = q
	out := report.Attribute{Namespace: a.Key.Namespace, Name: a.Key.Name, Expression: a.Expression, Condition: a.Condition}
	if _, err := report.New([]report.Attribute{out}, nil); err != nil {
		at, n := path+"[0]", item(list, 0)
		if fe, ok := errors.AsType[*report.FieldError](err); ok {
			if fe.Field == "name" || fe.Field == "namespace" {
				at, n = at+".key", orSelf(n, "key")
			}
			at, n, err = at+"."+fe.Field, orSelf(n, fe.Field), fe.Err
		}
		d.fail(n, at, "%v", err)
		return nil
	}
	return out
}

// report adds an attribute to those that are told.
func (l *loader) report(p *plugin, a report.Attribute) {
	if len(l.config.Report) == report.MaxAttributes {
		l.fail(p.node, p.path, "is one too many: at most %d attributes are reported", report.MaxAttributes)
		return
	}
	l.config.Report = append(l.config.Report, a)
}
