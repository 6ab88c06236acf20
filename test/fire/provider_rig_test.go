package fire

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// What the gateway signs with, and what clients send for theirs.
const (
	providerKey   = "sk-the-gateways-own"
	awsKeyID      = "AKIDTHEGATEWAYSOWN"
	awsSecret     = "the-gateways-own-secret"
	clientsSecret = "clients-own"
)

// actHeader is a header of clients that says what a provider does.
const actHeader = "x-act"

// provider is a fake AI provider that answers byte by byte, as requests ask for. It is
// written on the socket: what a good HTTP server would never send must be sent, too.
type provider struct {
	t      *testing.T
	name   string
	schema string // as in an AIBackend
	addr   string
	deaf   bool // it answers well, whatever it is asked to do

	mu   sync.Mutex
	got  []*received
	held int // connections on which an act goes on
}

// received is a request as it arrived.
type received struct {
	*http.Request
	body []byte
	raw  []byte // head and body, every byte
}

// newProvider starts a provider that speaks a schema.
func newProvider(t *testing.T, name, schema string) *provider {
	t.Helper()
	p := &provider{t: t, name: name, schema: schema}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	var conns sync.Map
	t.Cleanup(func() {
		l.Close()
		conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
	})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Store(c, nil)
			go func() {
				defer conns.Delete(c)
				defer c.Close()
				p.serve(c.(*net.TCPConn))
			}()
		}
	}()
	return p
}

// serve answers the requests of a connection.
func (p *provider) serve(c *net.TCPConn) {
	var raw bytes.Buffer
	in := bufio.NewReader(io.TeeReader(c, &raw))
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		x := &exchange{TCPConn: c, p: p, r: &received{Request: r}}
		act := acts()[r.Header.Get(actHeader)]
		if act == nil || p.deaf {
			act = good
		}
		if r.Header.Get(actHeader) != "refuse unread" || p.deaf {
			if x.r.body, err = io.ReadAll(r.Body); err != nil {
				return
			}
		}
		x.r.raw = bytes.Clone(raw.Bytes()[:raw.Len()-in.Buffered()])
		raw.Next(raw.Len() - in.Buffered())
		p.mu.Lock()
		p.got = append(p.got, x.r)
		p.held++
		p.mu.Unlock()
		act(x)
		p.mu.Lock()
		p.held--
		p.mu.Unlock()
	}
}

// requests are those that arrived, with the header values given.
func (p *provider) requests(header ...string) (all []*received) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.got {
		if len(header) == 0 || r.Header.Get(header[0]) == header[1] {
			all = append(all, r)
		}
	}
	return all
}

// busy is how many requests are being answered.
func (p *provider) busy() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

// aiFile is a file for fairway run: backends by schema and what AIRoute rules there are.
type aiFile struct {
	text strings.Builder
}

func newAIFile() *aiFile {
	f := &aiFile{}
	fmt.Fprintf(&f.text, `apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData:
  apiKey: %s
  credentials: |
    [default]
    aws_access_key_id = %s
    aws_secret_access_key = %s
`, providerKey, awsKeyID, awsSecret)
	return f
}

// backend adds an AIBackend, with further lines of its spec.
func (f *aiFile) backend(name, schema, addr string, more ...string) {
	credentials := "{type: APIKey, apiKey: {secretRef: {name: keys}}}"
	if schema == "AWSBedrock" {
		credentials = "{type: AWS, aws: {region: eu-west-1, secretRef: {name: keys}}}"
	}
	if len(more) == 0 {
		more = []string{"tls: {mode: None}"}
	}
	a := netip.MustParseAddrPort(addr)
	fmt.Fprintf(&f.text, `---
apiVersion: fairway.dev/v1alpha1
kind: AIBackend
metadata: {name: %s}
spec:
  schema: {name: %s}
  destination: {type: Hostname, hostname: {host: %s, port: %d}}
  credentials: %s
  %s
`, name, schema, a.Addr(), a.Port(), credentials, strings.Join(more, "\n  "))
}

// rule is a rule for a model that leads to names in order, those after "pool:" of
// InferencePools, and with further lines.
func (f *aiFile) rule(model, more string, names ...string) {
	fmt.Fprintf(&f.text, "---\napiVersion: fairway.dev/v1alpha1\nkind: AIRoute\nmetadata: {name: %s}\nspec:\n  rules:\n  - matches: [{model: {value: %s}}]\n    backendRefs:\n", model, model)
	for i, n := range names {
		if pool, ok := strings.CutPrefix(n, "pool:"); ok {
			fmt.Fprintf(&f.text, "    - {group: inference.networking.k8s.io, kind: InferencePool, name: %s, priority: %d}\n", pool, i)
			continue
		}
		fmt.Fprintf(&f.text, "    - {name: %s, model: their-%s, priority: %d}\n", n, n, i)
	}
	if more != "" {
		fmt.Fprintf(&f.text, "    %s\n", more)
	}
}

// pools adds two FailOpen InferencePools, one without endpoints and one with a server's.
func (f *aiFile) pools(empty, full string, server *modelServer) {
	for _, name := range []string{empty, full} {
		fmt.Fprintf(&f.text, `---
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: {name: %s}
spec:
  selector: {matchLabels: {app: %s}}
  targetPorts: [{number: 8000}]
  endpointPickerRef: {name: f, port: {number: 9002}, failureMode: FailOpen}
`, name, name)
	}
	host, port, _ := net.SplitHostPort(server.addr) // a listener's
	fmt.Fprintf(&f.text, "---\nendpoints:\n- {name: e, address: %s, port: %q, labels: {app: %s}}\n", host, port, full)
}

// bothAPIs is a model server that answers well in either API.
func bothAPIs(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	schema := "OpenAI"
	if r.URL.Path == messages {
		schema = "Anthropic"
	}
	x := &exchange{p: &provider{schema: schema}, r: &received{Request: r, body: body}}
	contentType, parts := x.answer()
	w.Header().Set("content-type", contentType)
	_, _ = io.WriteString(w, strings.Join(parts, "")) // a client that left is no error
}

// run starts fairway run with the file.
func (f *aiFile) run(t *testing.T, args ...string) *program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fairway.yaml")
	writeFile(t, path, f.text.String())
	p := run(t, append([]string{"-f", path}, args...)...)
	p.out.says(t, `is ready" address=`) // Envoy, and not only a credential
	t.Cleanup(func() {
		for _, secret := range []string{providerKey, awsSecret, clientsSecret} {
			if strings.Contains(p.out.String(), secret) {
				t.Errorf("fairway run wrote the secret %q", secret)
			}
		}
	})
	return p
}

// schemas are those of the providers that misbehave: one that OpenAI's clients need no
// translation for, one that Anthropic's need none for, and one of binary frames.
var schemas = []string{"OpenAI", "Anthropic", "AWSBedrock"}

// trio is a provider of each of the schemas, under a model of its name.
func trio(t *testing.T, f *aiFile) map[string]*provider {
	t.Helper()
	all := map[string]*provider{}
	for _, s := range schemas {
		name := strings.ToLower(s)
		all[s] = newProvider(t, name, s)
		f.backend(name, s, all[s].addr)
		f.rule(name, "", name)
	}
	return all
}

// rest waits until nothing is left behind: no request in Fairway's books, no goroutine
// more than before, and no connection that a provider is still writing to.
func (p *program) rest(before float64, providers map[string]*provider) {
	p.t.Helper()
	idleAt(p.t, p.admin)
	eventually(p.t, "no goroutine is left behind", func() error {
		now, err := metricOf(p.admin, "go_goroutines")
		// Idle connections of Envoy's to Fairway, and the collector's own.
		if err == nil && now > before+8 {
			err = fmt.Errorf("%v, and %v before", now, before)
		}
		return err
	})
	for name, x := range providers {
		eventually(p.t, name+" is left alone", func() error {
			if n := x.busy(); n > 0 {
				return fmt.Errorf("%d requests are being answered", n)
			}
			return nil
		})
	}
}

// goroutines is how many Fairway has.
func (p *program) goroutines() float64 {
	p.t.Helper()
	n, err := metricOf(p.admin, "go_goroutines")
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}
