// Package transcript plays the transcripts of aibackend's testdata: a client's
// request and a provider's answer as readable text, with what comes of them.
//
// It is for tests, and must not be used elsewhere.
package transcript

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"

	"github.com/fairway-ai/fairway/aibackend"
)

// Transcript is one request and its answer, as testdata has them. The first three
// sections are given, the others are what comes out:
//
//	-- backend --           a Backend as JSON
//	-- client request --    a path, headers, an empty line, JSON
//	-- provider response -- a status, headers, an empty line, bytes (see Message)
//	-- provider request --
//	-- client response --
//	-- usage --
type Transcript struct {
	File     string
	comment  string
	sections []section

	// What Run reads of them, once.
	In, Out Message
	Wire    []byte
	To      aibackend.Backend
	read    bool
}

type section struct{ name, text string }

func (t *Transcript) get(name string) string {
	for _, s := range t.sections {
		if s.name == name {
			return s.text
		}
	}
	return ""
}

func parseTranscript(file, text string) *Transcript {
	t := &Transcript{File: file}
	comment, rest, _ := strings.Cut(text, "-- ")
	t.comment = comment
	rest = strings.TrimSuffix(rest, "\n")
	for _, chunk := range strings.Split("\n"+"-- "+rest, "\n-- ")[1:] {
		name, body, _ := strings.Cut(chunk, " --\n")
		t.sections = append(t.sections, section{name, body + "\n"})
	}
	return t
}

func (t *Transcript) format(out []section) string {
	var b strings.Builder
	b.WriteString(t.comment)
	for _, name := range []string{"backend", "client request", "provider response"} {
		if text := t.get(name); text != "" {
			fmt.Fprintf(&b, "-- %s --\n%s", name, text)
		}
	}
	for _, s := range out {
		fmt.Fprintf(&b, "-- %s --\n%s", s.name, s.text)
		if !strings.HasSuffix(s.text, "\n") {
			b.WriteString("\n")
		}
	}
	return b.String()
}

// Message is a request or a response of a transcript.
//
// The frames of an event stream are lines there: "event NAME JSON", "exception NAME
// JSON", or "chunk JSON" for those of InvokeModel. The lines of forms end as they must.
type Message struct {
	Line    string
	Headers http.Header
	Body    string
}

func parseMessage(text string) Message {
	head, body, _ := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	m := Message{Line: lines[0], Headers: http.Header{}, Body: body}
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ": ")
		m.Headers.Set(name, value)
	}
	return m
}

func (t *Transcript) backend(tb testing.TB) (b aibackend.Backend) {
	d := json.NewDecoder(strings.NewReader(t.get("backend")))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		tb.Fatalf("%s: backend: %v", t.File, err)
	}
	return b
}

// bytesOf are the bytes of a response as the provider sends them.
func (m *Message) bytesOf(tb testing.TB) []byte {
	if m.Headers.Get("content-type") != "application/vnd.amazon.eventstream" {
		return []byte(m.Body)
	}
	return Frames(tb, m.Body)
}

// Frames makes an event stream of lines, see Message.
func Frames(tb testing.TB, lines string) []byte {
	var b bytes.Buffer
	enc := eventstream.NewEncoder()
	for _, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		var h eventstream.Headers
		payload := rest
		switch kind {
		case "chunk":
			h.Set(":message-type", eventstream.StringValue("event"))
			h.Set(":event-type", eventstream.StringValue("chunk"))
			payload = `{"bytes":"` + base64.StdEncoding.EncodeToString([]byte(rest)) + `"}`
		case "event", "exception":
			name, json, _ := strings.Cut(rest, " ")
			h.Set(":message-type", eventstream.StringValue(kind))
			h.Set(":"+kind+"-type", eventstream.StringValue(name))
			payload = json
		default:
			tb.Fatalf("unknown frame %q", line)
		}
		h.Set(":content-type", eventstream.StringValue("application/json"))
		if err := enc.Encode(&b, eventstream.Message{Headers: h, Payload: []byte(payload)}); err != nil {
			tb.Fatal(err)
		}
	}
	return b.Bytes()
}

// All are the transcripts of a folder, by name.
func All(tb testing.TB, dir string) []*Transcript {
	files, err := filepath.Glob(dir + "/*.txt")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no transcripts: %v", err)
	}
	slices.Sort(files)
	var list []*Transcript
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		list = append(list, parseTranscript(f, string(text)))
	}
	return list
}

// Result is what came of a transcript.
type Result struct {
	Request aibackend.Request
	Sent    bool // a request was made
	Status  int
	Headers []aibackend.Header
	Removed []string
	Body    []byte
	Usage   string
	Model   string // that answered
	Err     *aibackend.Error
}

// Prepare reads what was given. Run does it too.
func (t *Transcript) Prepare(tb testing.TB) {
	if t.read {
		return
	}
	t.read = true
	t.To = t.backend(tb)
	t.In = parseMessage(t.get("client request"))
	if strings.HasPrefix(t.In.Headers.Get("content-type"), "multipart/") {
		t.In.Body = strings.ReplaceAll(t.In.Body, "\n", "\r\n")
	}
	t.Out = parseMessage(t.get("provider response"))
	t.Wire = t.Out.bytesOf(tb)
}

// Run plays a transcript, with the provider's bytes cut into chunks at the given
// places.
func (t *Transcript) Run(tb testing.TB, cuts ...int) (r Result) {
	t.Prepare(tb)
	x, err := aibackend.NewExchange(t.In.Line, t.In.Headers, []byte(t.In.Body), t.To)
	if err != nil {
		r.Err, r.Status, r.Body = err, err.Status, err.Body
		r.Headers = []aibackend.Header{{Name: "content-type", Value: "application/json"}}
		return r
	}
	defer x.Close()
	r.Request, r.Sent = x.Request(), true
	if t.Out.Line == "" {
		return r
	}
	status, e := strconv.Atoi(t.Out.Line)
	if e != nil {
		tb.Fatalf("%s: %v", t.File, e)
	}
	head := x.Response(status, t.Out.Headers)
	r.Status, r.Headers, r.Removed = head.Status, head.Set, head.Remove
	wire, last := t.Wire, 0
	for _, cut := range cuts {
		if cut > last && cut < len(wire) {
			r.take(x, wire[last:cut], false, head)
			last = cut
		}
	}
	r.take(x, wire[last:], true, head)
	u, e := json.Marshal(x.Usage())
	if e != nil {
		tb.Fatal(e)
	}
	r.Usage = string(u)
	r.Model = x.AnsweredModel()
	return r
}

func (r *Result) take(x aibackend.Exchange, chunk []byte, end bool, head aibackend.Head) {
	out, err := x.Body(bytes.Clone(chunk), end)
	r.Body = append(r.Body, out...)
	if err != nil {
		r.Err = err
		if head.Buffered {
			r.Status = err.Status
		}
	}
}

// Text is the transcript with the result in it.
func (t *Transcript) Text(r *Result) string { return t.format(r.sections()) }

// sections are the result as a transcript shows it.
func (r *Result) sections() []section {
	var out []section
	if r.Sent {
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s\n", r.Request.Method, r.Request.Path)
		for _, h := range r.Request.Headers {
			fmt.Fprintf(&b, "%s: %s\n", h.Name, h.Value)
		}
		for _, name := range r.Request.RemoveHeaders {
			if !slices.Contains(always, name) {
				fmt.Fprintf(&b, "- %s\n", name)
			}
		}
		if len(r.Request.Dropped) > 0 {
			fmt.Fprintf(&b, "(dropped %s)\n", strings.Join(r.Request.Dropped, ", "))
		}
		b.WriteString("\n" + indented(r.Request.Body))
		out = append(out, section{"provider request", b.String()})
		if r.Status == 0 {
			return out
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d\n", r.Status)
	for _, h := range r.Headers {
		fmt.Fprintf(&b, "%s: %s\n", h.Name, h.Value)
	}
	for _, name := range r.Removed {
		fmt.Fprintf(&b, "- %s\n", name)
	}
	b.WriteString("\n" + indented(r.Body))
	out = append(out, section{"client response", b.String()})
	if r.Sent {
		out = append(out, section{"usage", r.Usage})
	}
	return out
}

// always are the headers that every request loses.
var always = []string{"authorization", "x-api-key", "api-key", "x-goog-api-key", "content-length", "accept-encoding", "accept"}

// indented is JSON made readable, and anything else as it is.
func indented(b []byte) string {
	if bytes.HasPrefix(b, []byte("--")) { // a form
		return strings.ReplaceAll(string(b), "\r\n", "\n")
	}
	if !json.Valid(b) || bytes.Contains(bytes.TrimSpace(b), []byte("\n")) {
		return string(b)
	}
	var out bytes.Buffer
	_ = json.Indent(&out, b, "", "  ")
	return out.String()
}
