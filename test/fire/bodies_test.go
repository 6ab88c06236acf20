package fire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// wantError checks an error's status, and that it is JSON in the schema of the API.
func wantError(t *testing.T, a *answer, path string, status int, kind string) {
	t.Helper()
	var body struct {
		Type  string
		Error struct{ Type, Message string }
	}
	err := json.Unmarshal([]byte(a.body), &body)
	switch {
	case a.status != status:
		t.Errorf("%s: status %d, want %d: %.300s", path, a.status, status, a.body)
	case err != nil || !strings.HasPrefix(a.header.Get("content-type"), "application/json"):
		t.Errorf("%s: not JSON (%v, %s): %.300s", path, err, a.header.Get("content-type"), a.body)
	case body.Error.Type != kind || body.Error.Message == "" || (body.Type == "error") != (path == messages):
		t.Errorf("%s: want an error of type %q in the API's schema: %.300s", path, kind, a.body)
	}
}

// padded is a question of exactly n bytes.
func padded(n int) string {
	empty := question("", false, 5)
	return question(strings.Repeat("a", n-len(empty)), false, 5)
}

func TestBodies(t *testing.T) {
	var longest int64
	ok := answering(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		longest = max(longest, n)
		w.Header().Set("content-type", "application/json")
		_, _ = io.WriteString(w, `{"choices":[]}`)
	})
	r := newRig(t, xds.Pool{FailOpen: true}, ok.addr)
	const badRequest, tooLarge = http.StatusBadRequest, http.StatusRequestEntityTooLarge
	deep := strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000)
	for _, tt := range []struct {
		name, body string
		status     int
	}{
		{"at the limit", padded(bodyLimit), 200},
		{"over the limit", padded(bodyLimit + 1), tooLarge},
		{"far over the limit", padded(8 * bodyLimit), tooLarge},
		// Without a body there is nothing to read: the model server judges.
		{"empty", "", 200},
		{"white space", " \n ", badRequest},
		{"cut", `{"model":"sim","messages":[{"role":"us`, badRequest},
		{"text", "hello", badRequest},
		{"list", `[{"model":"sim"}]`, badRequest},
		{"null", "null", badRequest},
		{"two objects", `{"model":"sim","messages":[]} {"model":"sim"}`, badRequest},
		{"control character in a string", "{\"model\":\"si\nm\",\"messages\":[]}", badRequest},
		{"deep nesting", `{"model":"sim","messages":` + deep + `}`, badRequest},
		{"deep nesting in a field nobody knows", `{"model":"sim","messages":[],"x":` + deep + `}`, badRequest},
		{"model is a number", `{"model":7,"messages":[]}`, badRequest},
		{"model is an object", `{"model":{"name":"sim"},"messages":[]}`, badRequest},
		{"cache_salt is a list", `{"model":"sim","messages":[],"cache_salt":[]}`, badRequest},
		// Hints alone; model servers differ in what they take.
		{"stream is a string", `{"model":"sim","stream":"yes","messages":[]}`, 200},
		{"max_tokens is a string", `{"model":"sim","max_tokens":"many","messages":[]}`, 200},
		{"messages is a number", `{"model":"sim","messages":7}`, 200},
		{"fine after all that", question("hello", false, 5), 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{chat, messages} {
				before := ok.posts.Load()
				a := r.post(path, tt.body)
				sent := ok.posts.Load() - before
				switch {
				case tt.status == 200 && (a.status != 200 || sent != 1):
					t.Errorf("%s: status %d, %d sent to the model server: %.300s", path, a.status, sent, a.body)
				case tt.status == 200:
				case sent != 0:
					t.Errorf("%s: a wrong request was sent to the model server", path)
				}
				if tt.status != 200 {
					kind := "invalid_request_error"
					if tt.status == tooLarge && path == messages {
						kind = "request_too_large"
					}
					wantError(t, a, path, tt.status, kind)
				}
			}
		})
	}
	if longest != bodyLimit {
		t.Errorf("the longest body that arrived has %d bytes, want %d", longest, bodyLimit)
	}
	t.Run("over the limit without a length", func(t *testing.T) {
		for _, n := range []int{bodyLimit + 1, 8 * bodyLimit} {
			a, err := r.unknownLength(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			wantError(t, a, chat, tooLarge, "invalid_request_error")
		}
	})
	r.idle()
	if peak := r.memoryPeak(); peak > 400 {
		t.Errorf("the picker took %d MiB", peak)
	}
}

// unknownLength posts a body of n bytes over HTTP/2, where no length is said, so that
// the answer can come before the body's end.
func (r *rig) unknownLength(ctx context.Context, n int) (*answer, error) {
	tr := &http.Transport{Protocols: new(http.Protocols)}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	body := io.MultiReader(strings.NewReader(padded(n))) // hides the length
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url+chat, body)
	if err != nil {
		return nil, err
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("%d bytes: %w", n, err)
	}
	defer resp.Body.Close()
	var text bytes.Buffer
	_, err = text.ReadFrom(resp.Body)
	return &answer{resp.StatusCode, resp.Header, text.String()}, err
}
