package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	tokenProducerType = "token-producer"

	defaultRenderURL     = "http://localhost:8000"
	defaultRenderTimeout = 5 * time.Second
	defaultImagesTimeout = 30 * time.Second
	// maxRenderTimeout bounds the timeouts: no gateway waits that long.
	maxRenderTimeout = 10 * time.Minute
)

// tokenProducer are the parameters of token-producer: either estimate, or vllm or
// modelName, which ask a server for token ids.
type tokenProducer struct {
	// Backend is deprecated: what is configured is used.
	Backend            string          `json:"backend"`
	ModelName          string          `json:"modelName"`
	Estimate           json.RawMessage `json:"estimate"`
	VLLM               *vllmRender     `json:"vllm"`
	UDSTokenizerConfig json.RawMessage `json:"udsTokenizerConfig"`
}

// vllmRender is a server with vLLM's render routes.
type vllmRender struct {
	URL string `json:"url"`
	// EndpointDiscovery asks the pool's endpoints instead.
	EndpointDiscovery  *renderDiscovery `json:"endpointDiscovery"`
	Timeout            Duration         `json:"timeout"`
	MMTimeout          Duration         `json:"mmTimeout"`
	MessagesRenderMode string           `json:"messagesRenderMode"`
	CACertPath         string           `json:"caCertPath"`
	ClientCertPath     string           `json:"clientCertPath"`
	ClientKeyPath      string           `json:"clientKeyPath"`
	InsecureSkipVerify *bool            `json:"insecureSkipVerify"`
}

// renderDiscovery says which of the pool's endpoints are asked: all of them, in turn.
type renderDiscovery struct {
	LoadBalancer struct {
		Type string `json:"type"`
	} `json:"loadBalancer"`
	PortRules json.RawMessage `json:"portRules"`
}

// Validate implements validator.
func (t tokenProducer) Validate() error {
	if !slices.Contains([]string{"", "vllm", "estimate"}, t.Backend) {
		return fmt.Errorf("backend is %.60q: must be vllm or estimate", t.Backend)
	}
	if t.VLLM == nil {
		return nil
	}
	v := t.VLLM
	for _, f := range [...]struct {
		name  string
		value time.Duration
	}{{"timeout", v.Timeout.Duration}, {"mmTimeout", v.MMTimeout.Duration}} {
		if f.value < 0 || f.value > maxRenderTimeout {
			return fmt.Errorf("vllm.%s is %v: must be above 0 and at most %v", f.name, f.value, maxRenderTimeout)
		}
	}
	if !slices.Contains([]string{"", "auto", "native", "legacy"}, v.MessagesRenderMode) {
		return fmt.Errorf("vllm.messagesRenderMode is %.60q: must be auto, native or legacy", v.MessagesRenderMode)
	}
	if v.EndpointDiscovery != nil {
		switch typ := v.EndpointDiscovery.LoadBalancer.Type; {
		case v.URL != "":
			return errors.New("vllm.url and vllm.endpointDiscovery: set one of them")
		case typ != "" && typ != "round-robin":
			return fmt.Errorf("vllm.endpointDiscovery.loadBalancer.type is %.60q: must be round-robin", typ)
		}
		return nil
	}
	return renderURL(v.URL)
}

// renderURL checks where to ask; "" is the default. What is wrong with it is not
// repeated: there may be a password in it.
func renderURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return fmt.Errorf("vllm.url must be http://HOST:PORT, such as %s", defaultRenderURL)
	case u.User != nil:
		return errors.New("vllm.url must not have a user and a password in it")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("vllm.url must be without a path, such as %s", defaultRenderURL)
	}
	return nil
}

// askEndpoints has the pool's own endpoints asked.
func askEndpoints() Tokens {
	return Tokens{Render: true, Timeout: Duration{defaultRenderTimeout}, ImagesTimeout: Duration{defaultImagesTimeout}}
}

// askingEndpoints are the parameters that come to the same.
func askingEndpoints() tokenProducer {
	v := &vllmRender{EndpointDiscovery: &renderDiscovery{}}
	v.setDefaults()
	return tokenProducer{VLLM: v}
}

func (v *vllmRender) setDefaults() {
	if v.EndpointDiscovery != nil {
		v.EndpointDiscovery.LoadBalancer.Type = "round-robin"
	} else if v.URL == "" {
		v.URL = defaultRenderURL
	}
	if v.Timeout.Duration == 0 {
		v.Timeout.Duration = defaultRenderTimeout
	}
	if v.MMTimeout.Duration == 0 {
		v.MMTimeout.Duration = defaultImagesTimeout
	}
}

// tokens is what the parameters come to.
func (t tokenProducer) tokens() Tokens {
	if t.VLLM == nil {
		return Tokens{}
	}
	out := askEndpoints()
	out.URL, out.Timeout, out.ImagesTimeout, out.Model = t.VLLM.URL, t.VLLM.Timeout, t.VLLM.MMTimeout, t.ModelName
	return out
}

func buildTokenProducer(d *decoder, p *plugin, params *yaml.Node) any {
	before := len(d.errs)
	t := decodeParams(d, p, params, tokenProducer{})
	if len(d.errs) > before {
		return nil
	}
	if n := present(params, "udsTokenizerConfig"); n != nil {
		d.warn(n, p.path+".parameters.udsTokenizerConfig", "is deprecated, and the tokenizer behind the socket is not spoken to: the pool's endpoints are asked; write vllm: {endpointDiscovery: {}}, or vllm: {url: …} of a server with vLLM's render routes")
		if t.VLLM == nil && present(params, "estimate") == nil {
			// The name was the tokenizer's; the endpoints know the request's model.
			t.VLLM, t.ModelName = &vllmRender{EndpointDiscovery: &renderDiscovery{}}, ""
		}
		t.UDSTokenizerConfig = nil
	}
	if n := present(params, "estimate"); n != nil {
		if t.VLLM != nil {
			d.fail(n, p.path+".parameters.estimate", "excludes vllm: set one of them")
			return nil
		}
		if n.Kind == yaml.MappingNode && len(n.Content) > 0 {
			d.warn(n, p.path+".parameters.estimate", "has no effect: each image, audio and video counts as 512 tokens; remove what is in it")
		}
		d.warnAt(p, params, "modelName", "has no effect: with estimate nobody is asked; remove it")
	} else if (t.ModelName != "" || t.Backend == "vllm") && t.VLLM == nil && t.Backend != "estimate" {
		t.VLLM = &vllmRender{} // as published
	}
	d.warnAt(p, params, "backend", "is deprecated: write vllm or estimate, which say it")
	if t.Backend == "estimate" && t.VLLM != nil {
		d.fail(present(params, "backend"), p.path+".parameters.backend", "is estimate, which excludes vllm: remove one")
		return nil
	}
	if t.VLLM != nil {
		t.VLLM.setDefaults()
		d.renderWarnings(p, params, *t.VLLM)
	}
	p.params = t
	return t.tokens()
}

// renderWarnings says what has no effect, and refuses what is not there.
func (d *decoder) renderWarnings(p *plugin, params *yaml.Node, v vllmRender) {
	d.warnAt(p, params, "vllm.messagesRenderMode", "has no effect: what an endpoint can render is found out; remove it")
	refuse := func(set bool, field, says string) {
		if set {
			d.fail(present(params, field), p.path+".parameters."+field, "is not available in Fairway: %s", says)
		}
	}
	const trust = "a server's certificate is checked by the system's authorities; ask over http, or give it such a certificate"
	refuse(v.CACertPath != "", "vllm.caCertPath", trust)
	refuse(v.ClientCertPath != "", "vllm.clientCertPath", trust)
	refuse(v.ClientKeyPath != "", "vllm.clientKeyPath", trust)
	refuse(v.InsecureSkipVerify != nil && *v.InsecureSkipVerify, "vllm.insecureSkipVerify", trust)
	refuse(present(params, "vllm.endpointDiscovery.portRules") != nil, "vllm.endpointDiscovery.portRules", "endpoints are asked where they serve requests; remove it, or name one server with url")
}

// setTokens notes where token ids come from.
func (l *loader) setTokens(p *plugin, t Tokens) {
	for _, other := range l.plugins {
		if was, ok := other.built.(Tokens); ok && other != p && was != t {
			l.fail(p.node, p.path, "there is a token-producer already, %q, with other parameters: only one is supported", other.name)
			return
		}
	}
	l.config.Tokens = t
}
