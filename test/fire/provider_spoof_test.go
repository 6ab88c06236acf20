package fire

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// No header of a client's, and no trick with its path or its framing, chooses a backend,
// an account or a destination: a request arrives where the rule for its model leads, with
// what the gateway signs it with and nothing else, or it is refused.
func TestClientsChooseNothing(t *testing.T) {
	f := newAIFile()
	providers := trio(t, f)
	elsewhere := newProvider(t, "elsewhere", "OpenAI")
	pool := answering(t, bothAPIs)
	f.pools("none", "local", pool)
	f.rule("pooled", "", "pool:local")
	p := f.run(t)
	const body = `{"model":"openai","messages":[{"role":"user","content":"hello"}]}`
	plain := func(header ...string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%s\r\n%s",
			chat, len(body), lines(header), body)
	}
	path := func(target string) string { return strings.Replace(plain(), "POST "+chat, "POST "+target, 1) }
	e := elsewhere.addr
	for name, raw := range map[string]string{
		"nothing":                  plain(),
		"route":                    plain("x-fairway-route: default/anthropic/0", "X-Fairway-Route: default/anthropic"),
		"pool":                     plain("x-fairway-pool: default/local", "x-fairway-pool: backend:default/anthropic"),
		"backend":                  plain("x-fairway-backend: default/anthropic"),
		"try":                      plain("x-fairway-try: abc"),
		"explain":                  plain("x-fairway-explain: 1"),
		"anything of ours":         plain("x-fairway-"+strings.Repeat("x", 100)+": "+clientsSecret, "x-fairway: 1"),
		"destination":              plain("x-gateway-destination-endpoint: "+e, "x-gateway-destination-endpoint: "+pool.addr),
		"subset":                   plain("x-gateway-destination-endpoint-subset: " + e),
		"served":                   plain("x-gateway-destination-endpoint-served: " + e),
		"Envoy's":                  plain("x-envoy-original-dst-host: "+e, "x-envoy-upstream-rq-timeout-ms: 1", "x-envoy-max-retries: 9", "x-envoy-retry-on: 5xx", "x-envoy-original-path: "+messages, "x-envoy-decorator-operation: x"),
		"host":                     strings.Replace(plain(), "host: gateway", "host: "+e, 1),
		"host of another provider": strings.Replace(plain(), "host: gateway", "host: "+providers["Anthropic"].addr, 1),
		"absolute form":            path("http://" + e + chat),
		"forwarded":                plain("x-forwarded-host: "+e, "x-forwarded-for: "+clientsSecret, "forwarded: host="+e, "x-real-ip: "+clientsSecret, "via: 1.1 x"),
		"rewritten":                plain("x-original-url: "+messages, "x-rewrite-url: "+messages, "x-http-method-override: GET"),
		"keys":                     plain("authorization: Bearer "+clientsSecret, "x-api-key: "+clientsSecret, "api-key: "+clientsSecret, "x-goog-api-key: "+clientsSecret),
		"keys in odd case":         plain("AUTHORIZATION: Bearer "+clientsSecret, "X-Api-Key: "+clientsSecret, "API-KEY: "+clientsSecret),
		"two keys":                 plain("authorization: Bearer "+clientsSecret, "authorization: Basic "+clientsSecret),
		"proxy's key":              plain("proxy-authorization: Basic " + clientsSecret),
		"AWS's":                    plain("x-amz-security-token: "+clientsSecret, "x-amz-date: 20200101T000000Z", "x-amz-content-sha256: "+clientsSecret, "authorization: AWS4-HMAC-SHA256 Credential="+clientsSecret),
		"cookie":                   plain("cookie: session=" + clientsSecret),
		"doubled slash":            path("//v1/chat/completions"),
		"slash within":             path("/v1//chat/completions"),
		"dots":                     path("/v1/messages/../chat/completions"),
		"encoded dots":             path("/v1/messages/%2e%2e/chat/completions"),
		"encoded slash":            path("/v1/chat%2fcompletions"),
		"encoded letters":          path("/v1/ch%61t/completions"),
		"another path in a query":  path(chat + "?path=" + messages + "&model=anthropic"),
		"parameters":               path("/v1/chat/completions;x=/v1/messages"),
		"another prefix":           path("/model/their-anthropic/converse/v1/chat/completions"),
		"the provider's own path":  path("/model/their-awsbedrock/converse"),
		"two models":               strings.NewReplacer(body, `{"model":"anthropic","model":"openai","messages":[{"role":"user","content":"hello"}]}`, fmt.Sprint(": ", len(body), "\r\n"), fmt.Sprint(": ", len(body)+len(`"model":"anthropic",`), "\r\n")).Replace(plain()),
		"length and chunks":        fmt.Sprintf("POST %s HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", chat, len(body), body),
		"two lengths":              strings.Replace(plain(), "content-length:", "content-length: 5\r\ncontent-length:", 1),
		"odd encoding":             strings.Replace(plain(), "content-length:", "transfer-encoding: identity, chunked\r\ncontent-length:", 1),
		"a second request within":  strings.Replace(plain(), fmt.Sprint("content-length: ", len(body)), "content-length: 0", 1),
		"space before the colon":   plain("x-fairway-route : default/anthropic"),
		"folded":                   plain("x-a: b\r\n authorization: Bearer its-own"),
		"underscores":              plain("x_fairway_route: default/anthropic", "x_api_key: "+"x"),
		"hop by hop":               plain("connection: x-fairway-route, authorization, close", "te: trailers", "upgrade: h2c"),
	} {
		t.Run(name, func(t *testing.T) {
			before := len(providers["OpenAI"].requests())
			status, text := rawExchange(t, p.url, raw)
			arrived := providers["OpenAI"].requests()[before:]
			switch {
			case len(arrived) > 1:
				t.Errorf("it arrived %d times", len(arrived))
			case len(arrived) == 1:
				signed(t, providers["OpenAI"], arrived[0])
			case status < 400 && status != 0:
				t.Errorf("status %d, and nothing arrived: %.500s", status, text)
			}
			if name == "nothing" && status != 200 {
				t.Errorf("status %d: %.500s", status, text)
			}
		})
	}
	for _, x := range []*provider{elsewhere, providers["Anthropic"], providers["AWSBedrock"]} {
		for _, r := range x.requests() {
			t.Errorf("%s got a request that was not for it: %s", x.name, r.raw)
		}
	}
	if n := pool.posts.Load(); n > 0 {
		t.Errorf("the pool got %d requests that were not for it", n)
	}
}

func lines(all []string) (text string) {
	for _, l := range all {
		text += l + "\r\n"
	}
	return text
}

// rawExchange writes bytes on a connection and reads a response; status 0 is a connection
// that was closed without one.
func rawExchange(t *testing.T, url, raw string) (status int, text string) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, raw); err != nil {
		return 0, ""
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	all, _ := io.ReadAll(resp.Body) // what there is
	return resp.StatusCode, string(all)
}
