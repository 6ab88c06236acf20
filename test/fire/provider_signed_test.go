package fire

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// signed checks that a request is in the provider's API, bears the gateway's credential,
// and none of the client's nor what is the gateway's own business.
func signed(t *testing.T, p *provider, r *received) {
	t.Helper()
	bad := func(what string) {
		t.Errorf("%s got a request that is not right: %s: %.2000s", p.name, what, r.raw)
	}
	lower := bytes.ToLower(r.raw)
	for _, never := range []string{clientsSecret, "x-fairway", "x-gateway-", "x-envoy", "x-forwarded"} {
		if bytes.Contains(lower, []byte(never)) {
			bad(never)
		}
	}
	if r.Host != p.addr {
		bad("its host")
	}
	var body map[string]any
	if err := json.Unmarshal(r.body, &body); err != nil {
		bad(err.Error())
		return
	}
	switch p.schema {
	case "OpenAI":
		if r.URL.Path != chat || !slices.Equal(r.Header.Values("authorization"), []string{"Bearer " + providerKey}) || body["model"] != "their-"+p.name {
			bad("its path, key or model")
		}
	case "Anthropic":
		if r.URL.Path != messages || !slices.Equal(r.Header.Values("x-api-key"), []string{providerKey}) || r.Header.Get("authorization") != "" ||
			r.Header.Get("anthropic-version") == "" || body["model"] != "their-"+p.name || body["max_tokens"] == nil {
			bad("its path, key, model or tokens")
		}
	default:
		if err := checkV4(r); err != "" || !strings.HasPrefix(r.URL.Path, "/model/their-"+p.name+"/converse") || body["inferenceConfig"] == nil && body["messages"] == nil {
			bad("its path, body or signature: " + err)
		}
	}
}

// checkV4 signs a request as its own headers say that it was signed, and compares.
func checkV4(r *received) string {
	given := r.Header.Get("authorization")
	_, rest, _ := strings.Cut(given, "SignedHeaders=")
	names, _, ok := strings.Cut(rest, ", ")
	at, err := time.Parse("20060102T150405Z", r.Header.Get("x-amz-date"))
	if !ok || err != nil || len(r.Header.Values("authorization")) != 1 {
		return "there is none"
	}
	q, err := http.NewRequest(r.Method, "http://"+r.Host+r.RequestURI, nil)
	if err != nil {
		return err.Error()
	}
	for name := range strings.SplitSeq(names, ";") {
		switch name {
		case "host":
		case "content-length":
			q.ContentLength = int64(len(r.body))
		default:
			q.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	hash := sha256.Sum256(r.body)
	err = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = false }).SignHTTP(r.Context(),
		aws.Credentials{AccessKeyID: awsKeyID, SecretAccessKey: awsSecret}, q, hex.EncodeToString(hash[:]), "bedrock", "eu-west-1", at)
	if err != nil {
		return err.Error()
	}
	if want := q.Header.Get("authorization"); want != given {
		return "it is " + given + ", want " + want
	}
	return ""
}
