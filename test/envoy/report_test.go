package envoy

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// usageServer answers with 7 and 3 tokens in the shape of the API that was called.
func usageServer(w http.ResponseWriter, r *http.Request) {
	body := map[string]string{
		"/v1/chat/completions": `{"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}`,
		"/v1/messages":         `{"type":"message","content":[],"usage":{"input_tokens":7,"output_tokens":3}}`,
		"/v1/responses":        `{"object":"response","usage":{"input_tokens":7,"output_tokens":3,"total_tokens":10}}`,
		"/v1/embeddings":       `{"data":[],"usage":{"prompt_tokens":7,"total_tokens":7}}`,
	}
	events := map[string]string{
		"/v1/chat/completions": "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n",
		"/v1/messages":         "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":3}}\n\n",
		"/v1/responses":        "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":3}}}\n\n",
	}
	w.Header().Set("content-type", "application/json")
	body["/v1/models"] = `{"object":"list","data":[{"id":"m","object":"model","owned_by":"me","max_model_len":7}]}`
	text := body[r.URL.Path]
	if r.Header.Get("x-stream") != "" {
		w.Header().Set("content-type", "text/event-stream")
		text = events[r.URL.Path]
	}
	if r.Header.Get("x-trailers") != "" {
		w.Header().Set("trailer", "x-end")
		defer w.Header().Set("x-end", "1")
	}
	for _, part := range strings.SplitAfter(text, "\n\n") {
		_, _ = io.WriteString(w, part)
		w.(http.Flusher).Flush()
	}
}

// listsModels asks a gateway, whose picker answers, for the models there are.
func listsModels(url string) error {
	resp, err := http.Get(url + "/v1/models?limit=9")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	const want = `{"object":"list","data":[{"id":"m","object":"model","owned_by":"me"}]}`
	if string(body) != want || resp.StatusCode != http.StatusOK || resp.Header.Get("content-type") != "application/json" || resp.Header.Get("x-backend") != "" {
		return fmt.Errorf("%s %v: %s", resp.Status, resp.Header, body)
	}
	return nil
}

// reportLine is a line of the access log; a number that is not told is null.
type reportLine struct {
	ID           string `json:"id"`
	Cost, Prompt float64
	Picked       string
}

// TestReportedAttributes puts fairway epp behind somebody else's gateway, which finds in
// its access log what expressions made of the usage of responses, whichever way bodies
// come to the picker, and whose clients are told which models there are.
func TestReportedAttributes(t *testing.T) {
	envoy := realenvoy.Path(t)
	fairway, err := binary.build()
	if err != nil {
		t.Fatal(err)
	}
	server := newBackend(t, usageServer)
	host, port, err := net.SplitHostPort(server.addr)
	if err != nil {
		t.Fatal(err)
	}
	write := testkit.Files(t)
	endpoints := write("endpoints.yaml", fmt.Sprintf("endpoints: [{name: a, address: %s, port: %q}]\n", host, port))
	config := write("config.yaml", fmt.Sprintf(`
plugins:
- type: file-discovery
  parameters: {path: %s}
- type: models-responder
- name: cost
  type: request-attribute-reporter
  parameters:
    attributes:
    - key: {name: x-gateway-inference-request-cost}
      expression: usage.prompt_tokens + 10.0 * usage.completion_tokens
      condition: has(usage.completion_tokens) && usage.completion_tokens > 0
- name: prompt
  type: request-attribute-reporter
  parameters:
    attributes:
    - key: {namespace: example.costs, name: prompt}
      expression: usage.prompt_tokens
dataLayer:
  injectDefaults: false
  discovery: {pluginRef: file-discovery}
`, endpoints))
	picker := freePort(t)
	background(t, fairway, "epp", "--config-file", config, "--allow-experimental-plugins", "--grpc-port", picker, "--grpc-health-port", "0", "--metrics-port", "0")

	for name, modes := range map[string]*strings.Replacer{
		"full duplex": strings.NewReplacer(),
		"streamed":    strings.NewReplacer("request_body_mode: FULL_DUPLEX_STREAMED", "request_body_mode: BUFFERED", "response_body_mode: FULL_DUPLEX_STREAMED", "response_body_mode: STREAMED", "trailer_mode: SEND", "trailer_mode: SKIP"),
	} {
		t.Run(name, func(t *testing.T) {
			gateway, log := freePort(t), filepath.Join(t.TempDir(), "access.log")
			logged := strings.NewReplacer("stat_prefix: main", `stat_prefix: main
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: `+log+`
              log_format:
                json_format:
                  id: "%REQ(X-TEST)%"
                  cost: "%DYNAMIC_METADATA(envoy.lb:x-gateway-inference-request-cost)%"
                  prompt: "%DYNAMIC_METADATA(example.costs:prompt)%"
                  picked: "%DYNAMIC_METADATA(envoy.lb:x-gateway-destination-endpoint)%"`,
				"message_timeout: 10s", "message_timeout: 10s\n              metadata_options: {receiving_namespaces: {untyped: [envoy.lb, example.costs]}}")
			bootstrap := logged.Replace(fmt.Sprintf(modes.Replace(duplexBootstrap), gateway, picker))
			background(t, envoy, "--config-path", write(strings.ReplaceAll(name, " ", "-")+".yaml", bootstrap), "--disable-hot-restart", "--log-level", "error", "--concurrency", "1",
				"--file-flush-interval-msec", "50")
			ask := func(path, id string, headers ...string) (string, error) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1:"+gateway+path, strings.NewReader(`{"model":"m","messages":[],"input":"x","max_tokens":5}`))
				if err != nil {
					return "", err
				}
				req.Header.Set("content-type", "application/json")
				req.Header.Set("x-test", id)
				for _, h := range headers {
					req.Header.Set(h, "1")
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					return "", err
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if resp.StatusCode != http.StatusOK {
					return "", fmt.Errorf("%s: %s", resp.Status, body)
				}
				return string(body), err
			}
			eventually(t, "the gateway answers", func() error { _, err := ask(chat, "first"); return err })
			eventually(t, "the picker lists models", func() error { return listsModels("http://127.0.0.1:" + gateway) })
			for _, tt := range []struct {
				path    string
				headers []string
				cost    float64
			}{
				{chat, nil, 37}, {"/v1/messages", nil, 37}, {"/v1/responses", nil, 37}, {"/v1/embeddings", nil, 0},
				{chat, []string{"x-stream"}, 37}, {"/v1/messages", []string{"x-stream"}, 37}, {"/v1/responses", []string{"x-stream"}, 37},
				{chat, []string{"x-trailers"}, 37}, {chat, []string{"x-stream", "x-trailers"}, 37},
			} {
				id := fmt.Sprint(tt.path, tt.headers)
				body, err := ask(tt.path, id, tt.headers...)
				if err != nil || !strings.Contains(body, "7") {
					t.Fatalf("%s: %v: %q", id, err, body)
				}
				var line reportLine
				eventually(t, "a line of the access log about "+id, func() error {
					text, err := os.ReadFile(log)
					for _, l := range strings.Split(string(text), "\n") {
						if line = (reportLine{}); json.Unmarshal([]byte(l), &line) == nil && line.ID == id {
							return nil
						}
					}
					return fmt.Errorf("not in %s: %v", text, err)
				})
				if line.Cost != tt.cost || line.Prompt != 7 || line.Picked != server.addr {
					t.Errorf("%s: the access log has %+v, want cost %v", id, line, tt.cost)
				}
			}
		})
	}
}
