package convert

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"

	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// maxOutput bounds what is written, in bytes.
const maxOutput = 64 << 20

// manifest is an object as it is written.
type manifest struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
	Spec       any      `json:"spec"`
}

// write is the YAML of everything that was made.
func (c *converter) write(o Options) ([]byte, error) {
	var b bytes.Buffer
	doc := func(text []byte) {
		if b.Len() > 0 {
			b.WriteString("---\n")
		}
		b.Write(text)
		if len(text) > 0 && text[len(text)-1] != '\n' {
			b.WriteByte('\n')
		}
	}
	if o.Passthrough {
		for _, x := range c.objects {
			if text, err := x.passed(); err != nil {
				return nil, err
			} else if text != nil {
				doc(text)
			}
		}
	}
	for _, list := range [][]output{c.grantObjects(), c.backends, c.routes} {
		for _, x := range list {
			version := v1alpha1.GroupVersion.String()
			if x.kind == "ReferenceGrant" {
				version = groupGateway + "/v1beta1"
			}
			// By JSON, so that the fields have the order that they have in JSON.
			data, err := json.Marshal(manifest{version, x.kind, x.meta, x.spec})
			if err == nil {
				data, err = yaml.JSONToYAML(data)
			}
			if err != nil {
				return nil, fmt.Errorf("writing %s %s: %w", x.kind, x.meta.Name, err)
			}
			doc(data)
			if b.Len() > maxOutput {
				return nil, fmt.Errorf("the output would be longer than %d bytes", maxOutput)
			}
		}
	}
	return b.Bytes(), nil
}

// passed is the text of an object that is left as it was; nil for the others. A
// BackendTrafficPolicy stays: what it targets has the same name.
func (x *object) passed() ([]byte, error) {
	gone := x.group == groupAIGateway || x.group == groupEnvoyGateway && x.kind == kindEGBackend && x.used ||
		x.group == groupGateway && x.kind == kindTLSPolicy && x.used
	if gone {
		return nil, nil
	}
	if x.text != nil {
		return bytes.TrimLeft(x.text, "\r\n"), nil
	}
	return yaml.Marshal(x.raw)
}
