package aibackend_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fairway-ai/fairway/aibackend"
)

const anthropicAnswer = `{"id":"a","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`

// compressed is b in gzip. Of a broken one the checksum is wrong.
func compressed(t *testing.T, b string, broken bool) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write([]byte(b)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if broken {
		out.Bytes()[out.Len()-6] ^= 1
	}
	return out.Bytes()
}

// What clients get does not depend on where a provider's bytes are cut, nor on whether the
// end comes with the last of them.
func TestCutsChangeNothing(t *testing.T) {
	plain := http.Header{"Content-Type": {"application/json"}}
	gzipped := http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
	const failure = `{"type":"error","error":{"type":"api_error","message":"no"}}`
	long := strings.Repeat("wait a while; ", 60)
	for _, tt := range []struct {
		name   string
		status int
		header http.Header
		wire   []byte
		want   string // in what the client gets of a translation
	}{
		{"an error", 500, plain, []byte(failure), `"no"`},
		{"an error and more", 500, plain, []byte(failure + "\n<!-- node 7 -->"), `"no"`},
		{"an object and more", 500, plain, []byte(`{}0000000000`), `: {}"`},
		{"no object", 500, plain, []byte(`{service} is away: {"retry":1}`), `: {service} is away: {\"retry\":1}"`},
		{"no list", 500, plain, []byte(` [proxy] the upstream is away`), `: [proxy] the upstream is away"`},
		{"no object, closed", 500, plain, []byte(`]{ x`), `: ]{ x"`},
		{"half an object", 500, plain, []byte(`{"error":{"message":"n`), `: {\"error\":{\"message\":\"n"`},
		{"long text", 500, plain, []byte(long), `: ` + long[:512] + `"`},
		{"no status text", 520, plain, []byte("error code: 520"), `answered 520: error code: 520"`},
		{"a compressed error", 500, gzipped, compressed(t, failure, false), `"no"`},
		{"a compressed error, broken", 500, gzipped, compressed(t, failure, true), `"no"`},
		{"compressed text", 500, gzipped, compressed(t, "[proxy] away", false), `: [proxy] away"`},
		{"compressed text, broken", 500, gzipped, compressed(t, "[proxy] away", true), `: [proxy] away"`},
		{"an answer and more", 200, plain, []byte(anthropicAnswer + "\r\n{}"), `"hi"`},
		{"a compressed answer, broken", 200, gzipped, compressed(t, anthropicAnswer, true), `"hi"`},
		{"an empty answer and more", 200, plain, []byte(`{} {}`), `"error"`},
	} {
		for _, path := range []string{"/v1/chat/completions", "/v1/messages"} {
			play := func(cuts []int, late bool) (out string, failed bool) {
				x := exchange(t, path, hello, aibackend.Backend{Schema: aibackend.Anthropic}, http.Header{})
				x.Response(tt.status, tt.header)
				give := func(chunk []byte, end bool) {
					b, err := x.Body(bytes.Clone(chunk), end)
					out, failed = out+string(b), failed || err != nil
				}
				at := 0
				for _, cut := range cuts {
					give(tt.wire[at:cut], false)
					at = cut
				}
				give(tt.wire[at:], !late)
				if late {
					give(nil, true)
				}
				return out, failed
			}
			whole, failed := play(nil, false)
			if path != "/v1/messages" && !strings.Contains(whole, tt.want) {
				t.Errorf("%s: got %s", tt.name, whole)
			}
			single := make([]int, len(tt.wire))
			for i := range single {
				single[i] = i
				for _, late := range []bool{false, true} {
					if out, bad := play([]int{i}, late); out != whole || bad != failed {
						t.Fatalf("%s, %s, cut at %d, late %v: got\n%s\nand not\n%s", tt.name, path, i, late, out, whole)
					}
				}
			}
			if out, bad := play(single, true); out != whole || bad != failed {
				t.Errorf("%s, %s, byte by byte: got\n%s\nand not\n%s", tt.name, path, out, whole)
			}
		}
	}
}

// A compressed stream that breaks inside of an event ends with the same error whether the
// end is known by then or not: what there is of the event is lost. One that passes as it
// came has the error at the end of a chunk, which is compressed.
func TestCutsOfABrokenStream(t *testing.T) {
	const event, options = "data: {\"id\":\"a\",\"choices\":[]}\n\n", `"stream_options":{"include_usage":true},`
	wire := compressed(t, event+"data: {\"id", true)
	for _, asks := range []string{"", options} {
		play := func(cut int, late bool) (out, told string) {
			x := exchange(t, "/v1/chat/completions", `{"stream":true,`+asks+hello[1:], aibackend.Backend{Schema: aibackend.OpenAI}, http.Header{})
			x.Response(200, http.Header{"Content-Type": {"text/event-stream"}, "Content-Encoding": {"gzip"}})
			give := func(chunk []byte, end bool) {
				b, err := x.Body(bytes.Clone(chunk), end)
				if out += string(b); err != nil {
					told += err.Cause.Message
				}
			}
			give(wire[:cut], false)
			if give(wire[cut:], !late); late {
				give(nil, true)
			}
			return out, told
		}
		whole, why := play(0, false)
		if asks == "" && !strings.HasPrefix(whole, event) || !strings.Contains(why, "checksum") {
			t.Errorf("got %s, %s", whole, why)
		}
		for cut := range wire {
			for _, late := range []bool{false, true} {
				if out, told := play(cut, late); asks == "" && out != whole || told != why {
					t.Fatalf("cut at %d, late %v: got\n%s%s\nand not\n%s%s", cut, late, out, told, whole, why)
				}
			}
		}
	}
}

// Of an error that is too large to be kept, the same is quoted however it comes, and an
// answer that is too large for its budget is refused in the same words.
func TestCutsOfLargeBodies(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		size   int
		budget int64
		want   string
	}{
		{"an error", 500, 1<<20 + 1, 0, "away away"},
		{"an answer", 200, aibackend.MaxBuffered + 1, aibackend.MaxBuffered, "larger than"},
		{"an answer and a small budget", 200, aibackend.MaxBuffered + 1, 8 << 20, "no room"},
	} {
		wire := bytes.Repeat([]byte("away "), tt.size/5+1)[:tt.size]
		var first string
		for _, step := range []int{tt.size, 1 << 20} {
			b := aibackend.Backend{Schema: aibackend.Anthropic, Budget: aibackend.NewBudget(tt.budget)}
			x := exchange(t, "/v1/chat/completions", hello, b, http.Header{})
			x.Response(tt.status, http.Header{"Content-Type": {"application/json"}})
			var out []byte
			for at := 0; at < tt.size; at += step {
				part, _ := x.Body(wire[at:min(at+step, tt.size)], at+step >= tt.size)
				out = append(out, part...)
			}
			x.Close()
			if first == "" {
				first = string(out)
			}
			if string(out) != first || !strings.Contains(first, tt.want) {
				t.Errorf("%s in steps of %d: %.200s", tt.name, step, out)
			}
		}
	}
}

// What is quoted of a provider's error ends with a whole rune.
func TestQuotesEndWithARune(t *testing.T) {
	message := func(body string) string {
		x := exchange(t, "/v1/chat/completions", hello, aibackend.Backend{Schema: aibackend.Anthropic}, http.Header{})
		x.Response(500, http.Header{"Content-Type": {"application/json"}})
		out, _ := x.Body([]byte(body), true)
		var e struct {
			Error struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if err := json.Unmarshal(out, &e); err != nil {
			t.Fatal(err)
		}
		return e.Error.Message
	}
	const told = "the provider answered Internal Server Error: "
	for _, r := range []string{"x", "é", "€", "😀"} {
		for before := range utf8.UTFMax {
			pad := strings.Repeat("p", before)
			quote := func(limit int) string { return pad + strings.Repeat(r, (limit-before)/len(r)) }
			text := pad + strings.Repeat(r, 5000)
			if got, want := message(text), told+quote(512); got != want {
				t.Errorf("%q: text ends with %q, and not as %q", r, got[len(got)-8:], want[len(want)-8:])
			}
			body := `{"type":"error","error":{"type":"api_error","message":"` + text + `"}}`
			if got, want := message(body), quote(4<<10); got != want {
				t.Errorf("%q: a message ends with %q, and not as %q", r, got[len(got)-8:], want[len(want)-8:])
			}
		}
	}
	if got, want := message("p"+strings.Repeat("\x80", 600)), told+"p"+strings.Repeat(" ", 511); got != want {
		t.Errorf("no UTF-8: %q", got)
	}
}
