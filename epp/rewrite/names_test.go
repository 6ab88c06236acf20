package rewrite

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
)

// whole restores an answer that comes in one piece.
func whole(from, to string, stream bool, text string) string {
	n := NewNames(from, to, stream)
	return string(n.End(n.Append(nil, []byte(text))))
}

// bytewise restores an answer that comes byte by byte.
func bytewise(t *testing.T, from, to string, stream bool, text string) string {
	t.Helper()
	n := NewNames(from, to, stream)
	var out []byte
	for i := range len(text) {
		out = n.Append(out, []byte{text[i]})
		if len(n.kept) > n.longest+1 {
			t.Errorf("%d bytes are kept, want at most %d", len(n.kept), n.longest)
		}
	}
	return string(n.End(out))
}

func TestNames(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"first", `{"model":"sent","id":"sent"}`, `{"model":"asked","id":"sent"}`},
		{"spaces", "{ \"id\" : 1,\n\t\"model\" : \"sent\" }\n", "{ \"id\" : 1,\n\t\"model\" : \"asked\" }\n"},
		{"another name", `{"model":"sent-2"}`, `{"model":"sent-2"}`},
		{"the beginning of it", `{"model":"sen"}`, `{"model":"sen"}`},
		{"escaped", `{"model":"s\u0065nt"}`, `{"model":"asked"}`},
		{"no string", `{"model":null,"x":"sent"}`, `{"model":null,"x":"sent"}`},
		{"an object", `{"model":{"model":"sent"}}`, `{"model":{"model":"sent"}}`},
		{"a list", `{"model":["sent"]}`, `{"model":["sent"]}`},
		{"deeper", `{"choices":[{"model":"sent","message":{"model":"sent"}}],"model":"sent"}`, `{"choices":[{"model":"sent","message":{"model":"sent"}}],"model":"asked"}`},
		{"message", `{"type":"message_start","message":{"id":"x","model":"sent"}}`, `{"type":"message_start","message":{"id":"x","model":"asked"}}`},
		{"response", `{"response":{"tools":[{"model":"sent"}],"model":"sent"},"model":"sent"}`, `{"response":{"tools":[{"model":"sent"}],"model":"asked"},"model":"asked"}`},
		{"an item", `{"item":{"model":"sent"}}`, `{"item":{"model":"sent"}}`},
		{"message is a list", `{"message":[{"model":"sent"}],"model":"sent"}`, `{"message":[{"model":"sent"}],"model":"asked"}`},
		{"in text", `{"content":"\"model\":\"sent\"","model":"sent"}`, `{"content":"\"model\":\"sent\"","model":"asked"}`},
		{"a backslash at the end", `{"a":"\\","model":"sent"}`, `{"a":"\\","model":"asked"}`},
		{"a long name", `{"model":"` + strings.Repeat("x", 100) + `","b":1}`, `{"model":"` + strings.Repeat("x", 100) + `","b":1}`},
		{"behind the end", `{} {"model":"sent"}`, `{} {"model":"sent"}`},
		{"cut", `{"model":"sen`, `{"model":"sen`},
		{"no object", `"model":"sent"`, `"model":"sent"`},
		{"a list of objects", `[{"model":"sent"}]`, `[{"model":"sent"}]`},
		{"empty", ``, ``},
		{"too many ends", `{}}}{"model":"sent"}`, `{}}}{"model":"sent"}`},
	} {
		for kind, got := range map[string]string{"whole": whole("sent", "asked", false, tc.text), "bytewise": bytewise(t, "sent", "asked", false, tc.text)} {
			if got != tc.want {
				t.Errorf("%s, %s:\n%s\nwant\n%s", tc.name, kind, got, tc.want)
			}
		}
	}
	if got := whole("sent", `<a> "b" é`, false, `{"model":"sent"}`); got != `{"model":"<a> \"b\" é"}` {
		t.Errorf("got %s", got)
	}
}

func TestNamesInStreams(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"events", "data: {\"model\":\"sent\"}\n\ndata: {\"model\":\"sent\"}\n\ndata: [DONE]\n\n", "data: {\"model\":\"asked\"}\n\ndata: {\"model\":\"asked\"}\n\ndata: [DONE]\n\n"},
		{"CRLF", "event: x\r\ndata:{\"model\":\"sent\"}\r\n\r\ndata: {\"model\":\"sent\"}\r\n\r\n", "event: x\r\ndata:{\"model\":\"asked\"}\r\n\r\ndata: {\"model\":\"asked\"}\r\n\r\n"},
		{"CR", "data:{\"model\":\"sent\"}\r\rdata:{\"model\":\"sent\"}\r\r", "data:{\"model\":\"asked\"}\r\rdata:{\"model\":\"asked\"}\r\r"},
		{"without the empty line", "data: {\"model\":\"sent\"}\ndata: {\"model\":\"sent\"}\n", "data: {\"model\":\"asked\"}\ndata: {\"model\":\"asked\"}\n"},
		{"several lines", "data: {\"model\":\ndata: \"sent\"}\n\n", "data: {\"model\":\ndata: \"asked\"}\n\n"},
		{"a line that ends in the name", "data: {\"model\":\"se\ndata: nt\"}\n\ndata: {\"model\":\"sent\"}\n\n", "data: {\"model\":\"se\ndata: nt\"}\n\ndata: {\"model\":\"asked\"}\n\n"},
		{"a line that ends in a string", "data: {\"a\":\"x\ndata: \",\"model\":\"sent\"}\n\n", "data: {\"a\":\"x\ndata: \",\"model\":\"sent\"}\n\n"},
		{"other fields", ": {\"model\":\"sent\"}\nid: {\"model\":\"sent\"}\ndatum: {\"model\":\"sent\"}\ndata: {\"model\":\"sent\"}\n\n", ": {\"model\":\"sent\"}\nid: {\"model\":\"sent\"}\ndatum: {\"model\":\"sent\"}\ndata: {\"model\":\"asked\"}\n\n"},
		{"an unfinished event", "data: {\"model\":\n\ndata: {\"a\":\"sent\"}\n\n", "data: {\"model\":\n\ndata: {\"a\":\"sent\"}\n\n"},
		{"Anthropic", "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"sent\"}}\n\n", "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"asked\"}}\n\n"},
		{"Responses", "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"model\":\"sent\"}}\n\n", "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"model\":\"asked\"}}\n\n"},
		{"cut", "data: {\"model\":\"se", "data: {\"model\":\"se"},
	} {
		for kind, got := range map[string]string{"whole": whole("sent", "asked", true, tc.text), "bytewise": bytewise(t, "sent", "asked", true, tc.text)} {
			if got != tc.want {
				t.Errorf("%s, %s:\n%q\nwant\n%q", tc.name, kind, got, tc.want)
			}
		}
	}
}

// oracle is what a JSON object becomes, as encoding/json reads it; ok is false for what
// is none.
func oracle(from, to, text string) (want string, ok bool) {
	if !json.Valid([]byte(text)) {
		return "", false
	}
	var b strings.Builder
	done := 0
	d := json.NewDecoder(strings.NewReader(text))
	type level struct {
		object bool
		key    bool // a key must come
		last   string
	}
	var levels []level
	for {
		before := int(d.InputOffset())
		token, err := d.Token()
		if err == io.EOF {
			b.WriteString(text[done:])
			return b.String(), true
		}
		if err != nil {
			return "", false
		}
		top := len(levels) - 1
		if s, is := token.(json.Delim); is {
			if s == '{' || s == '[' {
				levels = append(levels, level{object: s == '{', key: true})
			} else {
				levels = levels[:top]
				if top--; top >= 0 {
					levels[top].key = true
				}
			}
			continue
		}
		if top < 0 {
			return text, true
		}
		l := &levels[top]
		if l.object && l.key {
			l.last, l.key = token.(string), false
			// A key that is written with escapes is left alone.
			if raw := strings.TrimLeft(text[before:d.InputOffset()], ", \t\r\n"); strings.Contains(raw, "\\") || strings.ContainsRune(l.last, '\ufffd') {
				l.last = ""
			}
			continue
		}
		l.key = true
		named := l.object && l.last == "model" && (top == 0 || top == 1 && levels[0].object && (levels[0].last == "message" || levels[0].last == "response"))
		if s, is := token.(string); is && named && s == from {
			end := int(d.InputOffset())
			at := before + strings.IndexByte(text[before:end], '"')
			var quoted bytes.Buffer
			e := json.NewEncoder(&quoted)
			e.SetEscapeHTML(false)
			_ = e.Encode(to)
			b.WriteString(text[done:at] + strings.TrimSuffix(quoted.String(), "\n"))
			done = end
		}
	}
}

// FuzzNames: what comes out does not depend on where the answer is cut, is what the
// oracle says of JSON, and differs from what came in only by the name.
func FuzzNames(f *testing.F) {
	f.Add("sent", "asked", false, `{"model":"sent","message":{"model":"sent"}}`, uint64(0x5a5a))
	f.Add("s", "", false, `{"a":{"b":[1,"x\\\""]},"model" : "\u0073"}`, uint64(1))
	f.Add("sent", "a\"b", true, "data: {\"model\":\"sent\"}\r\n\r\ndata:{\"response\":{\"model\":\"sent\"}}\n\n", uint64(0xffff))
	f.Add("m", "m", true, "data: {\"model\":\"m\ndata:{\"model\":\"m\"}\n", uint64(0x1248))
	f.Fuzz(func(t *testing.T, from, to string, stream bool, text string, cuts uint64) {
		want := whole(from, to, stream, text)
		n := NewNames(from, to, stream)
		var out []byte
		at := 0
		for i := range len(text) {
			if cuts>>(i%64)&1 == 1 {
				out = n.Append(out, []byte(text[at:i]))
				at = i
				if len(n.kept) > n.longest+1 {
					t.Fatalf("%d bytes are kept", len(n.kept))
				}
			}
		}
		if out = n.End(n.Append(out, []byte(text[at:]))); string(out) != want {
			t.Fatalf("cut: %q, whole: %q", out, want)
		}
		if same := whole(from, from, stream, text); json.Valid([]byte(`"`+from+`"`)) && plain(from) && !strings.Contains(text, "\\") && same != text {
			t.Fatalf("%q became %q", text, same)
		}
		if !stream {
			if expected, ok := oracle(from, to, text); ok && expected != want {
				t.Fatalf("%q became %q, want %q", text, want, expected)
			}
			// As an event, and the next one, it becomes the same.
			if expected, ok := oracle(from, to, text); ok && text != "" && !strings.ContainsAny(text, "\r\n") {
				event := func(s string) string { return "data: " + s + "\n\n" }
				if got := whole(from, to, true, event(text)+event(text)); got != event(expected)+event(expected) {
					t.Fatalf("as events, %q became %q, want %q", text, got, expected)
				}
			}
		}
	})
}

// plain reports whether a name has no character that JSON writes in several ways.
func plain(s string) bool {
	for _, r := range s {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return false
		}
	}
	return true
}
