package env

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/credentials"
)

// The schemas a [Provider] may speak, as an AIBackend names them.
const (
	OpenAI       = "OpenAI"
	AzureOpenAI  = "AzureOpenAI"
	Anthropic    = "Anthropic"
	AWSBedrock   = "AWSBedrock"
	GCPVertexAI  = "GCPVertexAI"
	CohereSchema = "Cohere"
)

// Provider is one provider that the environment configures.
type Provider struct {
	// Name is a short name: openai, anthropic, azure, bedrock, vertex, gemini, cohere.
	Name   string
	Schema string
	// Host is a host name or address, without a port.
	Host string
	Port int
	TLS  bool
	// BasePath precedes the paths of the schema's operations, such as
	// /chat/completions for OpenAI and /v1/messages for Anthropic; "" or like "/v1".
	BasePath string
	// Version is the API version, for Azure.
	Version string
	// Region is the AWS region or the Google Cloud location, Project the Google Cloud
	// project.
	Region, Project string
	Credentials     credentials.Config
}

// Result is what the environment says.
type Result struct {
	Providers []Provider
	// Warnings are about providers that are configured by half, and name what is
	// missing.
	Warnings []string
}

// Environment is what is looked at.
type Environment struct {
	// Lookup returns a variable, as os.LookupEnv does. An empty one counts as not
	// set.
	Lookup func(name string) (string, bool)
	// FileExists says whether there is a file; nil means that there is none.
	FileExists func(path string) bool
}

// Detect returns the providers in a fixed order: openai, anthropic, azure,
// bedrock, vertex, gemini, cohere.
func Detect(e Environment) Result {
	d := &detector{e: e}
	d.openAI()
	d.anthropic()
	d.azure()
	d.bedrock()
	d.vertex()
	d.gemini()
	d.cohere()
	return d.out
}

type detector struct {
	e   Environment
	out Result
}

func (d *detector) get(name string) string {
	s, _ := d.e.Lookup(name)
	return strings.TrimSpace(s)
}

// first returns the name and value of the first variable that is set.
func (d *detector) first(names ...string) (name, value string) {
	for _, n := range names {
		if v := d.get(n); v != "" {
			return n, v
		}
	}
	return "", ""
}

func (d *detector) exists(elem ...string) bool {
	if d.e.FileExists == nil || elem[0] == "" {
		return false
	}
	return d.e.FileExists(path.Join(elem...))
}

func (d *detector) warn(format string, args ...any) {
	d.out.Warnings = append(d.out.Warnings, fmt.Sprintf(format, args...))
}

// add adds a provider at a URL, which the variable from gave.
func (d *detector) add(p Provider, from, at string) {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		d.warn("%s is left out: %s must be an http or https URL without user, password and query", p.Name, from)
		return
	}
	p.Host, p.TLS, p.BasePath = u.Hostname(), u.Scheme == "https", strings.TrimRight(u.EscapedPath(), "/")
	p.Port = 80
	if p.TLS {
		p.Port = 443
	}
	if u.Port() != "" {
		n, err := strconv.Atoi(u.Port())
		if err != nil || n < 1 || n > 65535 {
			d.warn("%s is left out: %s has a port that is none", p.Name, from)
			return
		}
		p.Port = n
	}
	d.out.Providers = append(d.out.Providers, p)
}

func key(variable, header string) credentials.Config {
	return credentials.Config{Type: credentials.TypeAPIKey, APIKey: &credentials.APIKey{Value: credentials.Value{Env: variable}, Header: header}}
}

// openAI works without a key at an address of one's own, such as Ollama's or
// vLLM's.
func (d *detector) openAI() {
	base, hasKey := d.get("OPENAI_BASE_URL"), d.get("OPENAI_API_KEY") != ""
	p := Provider{Name: "openai", Schema: OpenAI, Credentials: credentials.Config{Type: credentials.TypeNone}}
	if hasKey {
		p.Credentials = key("OPENAI_API_KEY", "")
	}
	switch {
	case base != "" && !hasKey && isOpenAI(base):
		d.warn("openai is left out: OPENAI_BASE_URL is set, but OPENAI_API_KEY is not")
	case base != "":
		d.add(p, "OPENAI_BASE_URL", base)
	case hasKey:
		d.add(p, "", "https://api.openai.com/v1")
	}
}

func isOpenAI(base string) bool {
	u, err := url.Parse(base)
	return err == nil && (u.Hostname() == "openai.com" || strings.HasSuffix(u.Hostname(), ".openai.com"))
}

func (d *detector) anthropic() {
	base := d.get("ANTHROPIC_BASE_URL")
	p := Provider{Name: "anthropic", Schema: Anthropic}
	switch {
	case d.get("ANTHROPIC_API_KEY") != "":
		p.Credentials = key("ANTHROPIC_API_KEY", "x-api-key")
	case d.get("ANTHROPIC_AUTH_TOKEN") != "":
		p.Credentials = key("ANTHROPIC_AUTH_TOKEN", "")
	default:
		if base != "" {
			d.warn("anthropic is left out: ANTHROPIC_BASE_URL is set, but ANTHROPIC_API_KEY is not")
		}
		return
	}
	if base == "" {
		base = "https://api.anthropic.com"
	}
	d.add(p, "ANTHROPIC_BASE_URL", base)
}

// azureVersion is used where the environment names no API version.
const azureVersion = "2024-10-21"

func (d *detector) azure() {
	endpoint := d.get("AZURE_OPENAI_ENDPOINT")
	hasKey := d.get("AZURE_OPENAI_API_KEY") != ""
	if endpoint == "" {
		if hasKey {
			d.warn("azure is left out: AZURE_OPENAI_API_KEY is set, but AZURE_OPENAI_ENDPOINT is not")
		}
		return
	}
	p := Provider{Name: "azure", Schema: AzureOpenAI, Version: azureVersion}
	if _, v := d.first("AZURE_OPENAI_API_VERSION", "OPENAI_API_VERSION"); v != "" {
		p.Version = v
	}
	tenant, client := d.get("AZURE_TENANT_ID"), d.get("AZURE_CLIENT_ID")
	az := &credentials.Azure{TenantID: tenant, ClientID: client}
	switch {
	case hasKey:
		az = &credentials.Azure{APIKey: &credentials.Value{Env: "AZURE_OPENAI_API_KEY"}}
	case tenant == "" && client == "":
		d.warn("azure is left out: AZURE_OPENAI_ENDPOINT is set, but AZURE_OPENAI_API_KEY is not (nor AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET)")
		return
	case tenant == "":
		d.warn("azure is left out: AZURE_CLIENT_ID is set, but AZURE_TENANT_ID is not")
		return
	case client == "":
		d.warn("azure is left out: AZURE_TENANT_ID is set, but AZURE_CLIENT_ID is not")
		return
	case d.get("AZURE_CLIENT_SECRET") != "":
		az.ClientSecret = &credentials.Value{Env: "AZURE_CLIENT_SECRET"}
	case d.get("AZURE_FEDERATED_TOKEN_FILE") != "":
		az.Federated = &credentials.IdentityToken{File: d.get("AZURE_FEDERATED_TOKEN_FILE")}
	default:
		d.warn("azure is left out: AZURE_TENANT_ID and AZURE_CLIENT_ID are set, but neither AZURE_CLIENT_SECRET nor AZURE_FEDERATED_TOKEN_FILE is")
		return
	}
	p.Credentials = credentials.Config{Type: credentials.TypeAzure, Azure: az}
	d.add(p, "AZURE_OPENAI_ENDPOINT", endpoint)
}

// place is a region or location: it becomes part of a host name.
var place = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$`)
