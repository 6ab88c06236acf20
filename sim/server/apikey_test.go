package server

import (
	"net/http"
	"strings"
	"testing"
)

func TestAPIKey(t *testing.T) {
	config := fast()
	config.APIKey = "sesame"
	c := newClient(t, config)
	ask := func(method, path, header, value string) int {
		body := ""
		if method == http.MethodPost {
			body = user("hello", `,"max_tokens":2`)
		}
		req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if header != "" {
			req.Header.Set(header, value)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	for _, tc := range []struct {
		method, path, header, value string
		want                        int
	}{
		{"POST", "/v1/chat/completions", "", "", 401},
		{"POST", "/v1/chat/completions", "authorization", "Bearer sesam", 401},
		{"POST", "/v1/chat/completions", "authorization", "sesame", 401},
		{"POST", "/v1/chat/completions", "authorization", "Bearer sesame", 200},
		{"POST", "/v1/messages", "x-api-key", "open", 401},
		{"POST", "/v1/messages", "x-api-key", "sesame", 200},
		{"GET", "/v1/models", "", "", 401},
		{"GET", "/health", "", "", 200},
		{"GET", "/metrics", "", "", 200},
	} {
		if got := ask(tc.method, tc.path, tc.header, tc.value); got != tc.want {
			t.Errorf("%s %s with %s: %q: status %d, want %d", tc.method, tc.path, tc.header, tc.value, got, tc.want)
		}
	}
}
