package airoute

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/api/v1alpha1"
)

// backendBuilder makes the Backend of one AIBackend.
type backendBuilder struct {
	*builder
	problems
	x    *v1alpha1.AIBackend
	from Reference
	out  Backend
	// down are problems that stop nothing by themselves: the failure mode of a picker says
	// what becomes of requests.
	down problems
}

// backend makes a Backend of an AIBackend, which is served if nothing is wrong with it.
func (b *builder) backend(x *v1alpha1.AIBackend) *BackendResult {
	name, s := nameOf(x), &x.Spec
	m := &backendBuilder{
		builder: b, x: x, from: Reference{fairwayGroup, kindBackend, name},
		out: Backend{
			Name: name.String(), Label: name.String(), Models: slices.Clone(s.Models),
			Credentials: credentials.Config{Type: credentials.TypeNone},
			Provider: aibackend.Backend{
				Schema: aibackend.Schema(s.Schema.Name), Version: s.Schema.Version, PathPrefix: s.Schema.PathPrefix,
			},
		},
	}
	m.schema()
	m.tls()
	m.destination()
	m.headers()
	m.body()
	m.credentials()
	if len(m.all) == 0 {
		b.c.Backends = append(b.c.Backends, m.out)
		b.made[name] = &m.out
	}
	return &BackendResult{Name: name.String(), Generation: x.Generation, Problems: append(m.all, m.down.all...)}
}

func (m *backendBuilder) schema() {
	if !answersAny(m.out.Provider.Schema) {
		m.invalid("spec.schema.name", "must be OpenAI, AzureOpenAI, Anthropic, AWSBedrock, AWSAnthropic, GCPVertexAI, GCPAnthropic or Cohere")
	}
	if p := m.x.Spec.Schema.PathPrefix; p != "" && (p[0] != '/' || strings.ContainsAny(p, "?# \r\n")) {
		m.invalid("spec.schema.pathPrefix", "must be a path as in /v1")
	}
	if !plain(m.x.Spec.Schema.Version) {
		m.invalid("spec.schema.version", "must be of letters, digits, dashes and dots")
	}
}

// named is an object whose namespace may be left out, which means the AIBackend's.
func (m *backendBuilder) named(namespace *string, name string) types.NamespacedName {
	n := types.NamespacedName{Namespace: m.x.Namespace, Name: name}
	if namespace != nil && *namespace != "" {
		n.Namespace = *namespace
	}
	return n
}

// plain says that s has nothing that means something in a URL or a header.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool {
		return !strings.ContainsRune("-_.:", c) && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
}
