package sdk

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

// fake is a provider. What to answer is said in the text of a request: "play:NAME" is
// the provider's answer in the transcript of that name, "fail:STATUS" an error.
type fake struct {
	t     *testing.T
	addr  string
	fails func(w http.ResponseWriter, status int)

	mu  sync.Mutex
	log []exchanged
}

// exchanged is one request and its answer, for judges in another language.
type exchanged struct {
	Method, Host, URI string
	Headers           map[string]string
	Body              string // base64
	Status            int
	Type              string
	Answer            string // base64
}

func newFake(t *testing.T, fails func(w http.ResponseWriter, status int)) *fake {
	f := &fake{t: t, fails: fails}
	srv := httptest.NewUnstartedServer(f)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	f.addr = srv.Listener.Addr().String()
	return f
}

var wish = regexp.MustCompile(`(play|fail):([a-z0-9-]+)`)

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return
	}
	rec := httptest.NewRecorder()
	m := wish.FindSubmatch(body)
	switch {
	case m == nil:
		f.t.Errorf("%s says not what to answer: %s", r.URL, body)
		f.fails(rec, http.StatusInternalServerError)
	case string(m[1]) == "fail":
		status, _ := strconv.Atoi(string(m[2]))
		f.fails(rec, status)
	default:
		f.play(rec, string(m[2]))
	}
	x := exchanged{
		Method: r.Method, Host: r.Host, URI: r.RequestURI, Headers: map[string]string{},
		Body:   base64.StdEncoding.EncodeToString(body),
		Status: rec.Code, Type: rec.Header().Get("content-type"), Answer: base64.StdEncoding.EncodeToString(rec.Body.Bytes()),
	}
	for name := range r.Header {
		x.Headers[strings.ToLower(name)] = r.Header.Get(name)
	}
	f.mu.Lock()
	f.log = append(f.log, x)
	f.mu.Unlock()
	for name, values := range rec.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(rec.Code)
	// In two pieces, so that no client sees whole answers only.
	half := rec.Body.Len() / 2
	_, _ = w.Write(rec.Body.Bytes()[:half])
	_ = http.NewResponseController(w).Flush()
	_, _ = w.Write(rec.Body.Bytes()[half:])
}

// play answers as the provider of a transcript.
func (f *fake) play(w http.ResponseWriter, name string) {
	text, err := os.ReadFile(filepath.Join("..", "..", "aibackend", "testdata", name+".txt"))
	if err != nil {
		f.t.Error(err)
		f.fails(w, http.StatusInternalServerError)
		return
	}
	_, answer, _ := strings.Cut(string(text), "-- provider response --\n")
	answer, _, _ = strings.Cut(answer, "-- provider request --\n")
	head, body, _ := strings.Cut(answer, "\n\n")
	lines := strings.Split(head, "\n")
	for _, line := range lines[1:] {
		if name, value, ok := strings.Cut(line, ": "); ok && name != "date" {
			w.Header().Set(name, value)
		}
	}
	status, err := strconv.Atoi(lines[0])
	if err != nil {
		f.t.Errorf("%s has no answer: %v", name, err)
		status = http.StatusInternalServerError
	}
	w.WriteHeader(status)
	if w.Header().Get("content-type") == "application/vnd.amazon.eventstream" {
		_, _ = w.Write(f.frames(body))
		return
	}
	_, _ = io.WriteString(w, body)
}

// frames makes an event stream of a transcript's lines.
func (f *fake) frames(lines string) []byte {
	var b bytes.Buffer
	enc := eventstream.NewEncoder()
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		parts := strings.SplitN(line, " ", 3)
		if len(parts) != 3 {
			f.t.Errorf("the frame %q cannot be read", line)
			continue
		}
		var h eventstream.Headers
		h.Set(":message-type", eventstream.StringValue(parts[0]))
		h.Set(":"+parts[0]+"-type", eventstream.StringValue(parts[1]))
		h.Set(":content-type", eventstream.StringValue("application/json"))
		if err := enc.Encode(&b, eventstream.Message{Headers: h, Payload: []byte(parts[2])}); err != nil {
			f.t.Error(err)
		}
	}
	return b.Bytes()
}

// lastBody is the body of the last request.
func (f *fake) lastBody() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.log) == 0 {
		return ""
	}
	b, _ := base64.StdEncoding.DecodeString(f.log[len(f.log)-1].Body)
	return string(b)
}

// write keeps what was exchanged in a file.
func (f *fake) write(file string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := json.Marshal(f.log)
	if err == nil {
		err = os.WriteFile(file, b, 0o600)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func failJSON(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("content-type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, format, args...)
}

func openAIFails(w http.ResponseWriter, status int) {
	failJSON(w, status, `{"error":{"message":"failed with %d","type":"some_error","param":null,"code":null}}`, status)
}

func anthropicFails(w http.ResponseWriter, status int) {
	kind := map[int]string{400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}[status]
	if kind == "" {
		kind = "api_error"
	}
	failJSON(w, status, `{"type":"error","error":{"type":%q,"message":"failed with %d"}}`, kind, status)
}

func bedrockFails(w http.ResponseWriter, status int) {
	kind := map[int]string{400: "ValidationException", 401: "UnrecognizedClientException", 404: "ResourceNotFoundException", 429: "ThrottlingException"}[status]
	if kind == "" {
		kind = "InternalServerException"
	}
	w.Header().Set("x-amzn-errortype", kind)
	failJSON(w, status, `{"message":"failed with %d"}`, status)
}
