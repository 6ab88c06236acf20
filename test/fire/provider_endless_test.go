package fire

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// endless begins as told and goes on up to a gigabyte, while anybody reads it.
func endless(contentType, begin string) func(*exchange) {
	return func(x *exchange) {
		more := strings.Repeat("x", 1<<20)
		for ok := x.chunked(200, contentType) && x.chunk(begin); ok && x.sent < 1<<10; x.sent++ {
			ok = x.chunk(more)
		}
		x.end()
	}
}

// A gigabyte of anything that has to be read whole ends in an error long before its end,
// and Fairway keeps no more of it than it may.
func TestEndlessAnswers(t *testing.T) {
	f := newAIFile()
	providers := trio(t, f)
	p := f.run(t)
	before := p.goroutines()
	for _, q := range []asked{
		{act: "endless object", model: "anthropic"},
		{act: "endless page", model: "awsbedrock"},
		{act: "endless page", model: "openai", stream: true},
		{act: "endless line", model: "openai", stream: true},
		{act: "endless line", model: "anthropic", stream: true},
		{act: "endless frame", model: "awsbedrock", stream: true},
	} {
		q.path = chat
		p.hear(t.Context(), q).want(t, q, refused, told, cut)
	}
	p.rest(before, providers)
	if peak := memory(t, p.cmd.Process.Pid, "VmHWM"); peak > 700 { // of one answer of 64 MiB, until it is collected
		t.Errorf("Fairway took %d MiB", peak)
	}
	t.Logf("fairway %d MiB, Envoy %d MiB", memory(t, p.cmd.Process.Pid, "VmHWM"), memory(t, p.envoy(), "VmHWM"))
}

// An answer that passes may be as long as it is: nobody keeps it.
func TestLongAnswersPass(t *testing.T) {
	f := newAIFile()
	trio(t, f)
	p := f.run(t)
	body := strings.Replace(question("hello", false, 5), `"sim"`, `"openai"`, 1)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+chat, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(actHeader, "long object")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if want := int64(len(longBegin) + 128<<20); err != nil || resp.StatusCode != 200 || n != want {
		t.Errorf("status %d, %d bytes of %d: %v", resp.StatusCode, n, want, err)
	}
	if a, b := memory(t, p.cmd.Process.Pid, "VmHWM"), memory(t, p.envoy(), "VmHWM"); a > 400 || b > 600 {
		t.Errorf("Fairway took %d MiB, and Envoy %d MiB", a, b)
	}
}

// longBegin begins an object with a long text.
const longBegin = `{"id":"c1","object":"chat.completion","text":"`
