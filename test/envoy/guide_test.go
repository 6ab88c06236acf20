package envoy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// guide is a page of the documentation whose commands a test runs, with its example
// files, on ports of the test's own.
type guide struct {
	t      *testing.T
	dir    string
	blocks []string          // of sh
	ports  map[string]string // the page's and the test's
	bin    map[string]string
	procs  map[string]context.CancelFunc // by --name
	serve  []string                      // ports of those with a name
}

// pdPorts are the ports of the page and of examples/prefill-decode.
var pdPorts = []string{"8001", "8002", "8003", "8004", "8005", "8011", "8080", "9002", "9090"}

func openGuide(t *testing.T, page string) *guide {
	t.Helper()
	envoy, err := filepath.Abs(realenvoy.Path(t))
	if err != nil {
		t.Fatal(err)
	}
	fairway, err := binary.build()
	if err != nil {
		t.Fatal(err)
	}
	g := &guide{t: t, dir: t.TempDir(), ports: map[string]string{}, bin: map[string]string{"bin/fairway": fairway, "bin/envoy": envoy}, procs: map[string]context.CancelFunc{}}
	for _, p := range pdPorts {
		g.ports[p] = freePort(t)
	}
	// The ranks are on ports that follow each other.
	ranks := testkit.FreePorts(t, 2)
	g.ports["8011"], g.ports["8012"] = strconv.Itoa(ranks), strconv.Itoa(ranks+1)
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		g.blocks = append(g.blocks, g.translate(m[1]))
	}
	files, err := filepath.Glob("../../examples/prefill-decode/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		g.write("examples/prefill-decode/"+filepath.Base(f), g.translate(string(data)))
	}
	return g
}

func (g *guide) write(name, text string) {
	g.t.Helper()
	path := filepath.Join(g.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

var portPattern = regexp.MustCompile(`\b(80\d\d|90\d\d)\b`)

func (g *guide) translate(text string) string {
	text = portPattern.ReplaceAllStringFunc(text, func(p string) string {
		if own := g.ports[p]; own != "" {
			return own
		}
		return p
	})
	return text
}

// command is a shell in the guide's folder, where its programs are under their names.
func (g *guide) command(ctx context.Context, line string) *exec.Cmd {
	for name, path := range g.bin {
		line = strings.ReplaceAll(line, name, path)
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir = g.dir
	return cmd
}

// start runs the lines of a block that end with &, until the end of the test.
func (g *guide) start(lines string) {
	g.t.Helper()
	for line := range strings.Lines(lines) {
		line, ok := strings.CutSuffix(strings.TrimSpace(line), " &")
		if !ok {
			g.t.Fatalf("%q does not run in the background", line)
		}
		out := &recorder{}
		ctx, cancel := context.WithCancel(context.Background())
		cmd := g.command(ctx, "exec "+line)
		cmd.Stdout, cmd.Stderr = out, out
		if err := cmd.Start(); err != nil {
			g.t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); _ = cmd.Wait() }() // it is killed
		stop := func() { cancel(); <-done }
		g.t.Cleanup(func() {
			stop()
			if g.t.Failed() {
				g.t.Logf("%s printed:\n%s", line, out)
			}
		})
		if m := regexp.MustCompile(`--name (\S+)`).FindStringSubmatch(line); m != nil {
			g.procs[m[1]] = stop
			g.serve = append(g.serve, regexp.MustCompile(`--port (\S+)`).FindStringSubmatch(line)[1])
		}
	}
}

// run runs a block to its end and returns what it printed.
func (g *guide) run(block string) string {
	g.t.Helper()
	out, err := g.command(g.t.Context(), block).CombinedOutput()
	if err != nil {
		g.t.Fatalf("%v: %s\n%s", err, block, out)
	}
	return string(out)
}

// post sends a request through the gateway.
func (g *guide) post(body string, headers ...string) *answer {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:"+g.ports["8080"]+chat, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("content-type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return &answer{status: 0, body: err.Error()}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return &answer{status: 0, body: err.Error()}
	}
	return &answer{resp.StatusCode, resp.Header, string(data)}
}

// server is the simulated server that answered.
func (a *answer) server() string { return a.header.Get("x-sim-server") }

// ready waits until every model server and the gateway answer.
func (g *guide) ready() {
	g.t.Helper()
	for _, port := range g.serve {
		eventually(g.t, "the server on port "+port+" answers", func() error {
			resp, err := http.Get("http://127.0.0.1:" + port + "/health")
			if err == nil {
				_ = resp.Body.Close()
			}
			return err
		})
	}
	eventually(g.t, "the gateway answers", func() error {
		if a := g.post(asking("ready?")); a.status != 200 {
			return fmt.Errorf("%d %s", a.status, a.body)
		}
		return nil
	})
}

func asking(text string) string {
	return fmt.Sprintf(`{"model":"sim","max_tokens":5,"messages":[{"role":"user","content":%q}]}`, text)
}
