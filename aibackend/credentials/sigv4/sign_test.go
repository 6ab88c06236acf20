package sigv4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsv4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

var (
	testKeys = Keys{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
	testTime = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
)

// sdkSign signs r with the AWS SDK. The path is given as it is sent, in Opaque, so
// that nothing escapes it before the signer does.
func sdkSign(t testing.TB, k Keys, r Request, service, region string, now time.Time) http.Header {
	t.Helper()
	path, query, _ := strings.Cut(r.Path, "?")
	req := &http.Request{
		Method: r.Method,
		URL:    &url.URL{Scheme: "https", Host: r.Host, Opaque: "//" + r.Host + path, RawQuery: query},
		Host:   r.Host,
		Header: http.Header{"User-Agent": {"ignored"}},
	}
	if r.ContentType != "" {
		req.Header.Set("Content-Type", r.ContentType)
	}
	sum := sha256.Sum256(r.Body)
	creds := aws.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken}
	if err := awsv4.NewSigner().SignHTTP(context.Background(), creds, req, hex.EncodeToString(sum[:]), service, region, now); err != nil {
		t.Fatal(err)
	}
	return req.Header
}

// Vectors of the published Signature Version 4 test suite, under their names there.
func TestPublishedVectors(t *testing.T) {
	s := New("service", "us-east-1")
	for name, tt := range map[string]struct {
		request Request
		want    string
	}{
		"get-vanilla": {Request{Method: "GET", Host: "example.amazonaws.com", Path: "/"},
			"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
		"get-vanilla-query-order-key-case": {Request{Method: "GET", Host: "example.amazonaws.com", Path: "/?Param2=value2&Param1=value1"},
			"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		"post-vanilla": {Request{Method: "POST", Host: "example.amazonaws.com", Path: "/"},
			"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		"post-x-www-form-urlencoded": {Request{Method: "POST", Host: "example.amazonaws.com", Path: "/", ContentType: "application/x-www-form-urlencoded", Body: []byte("Param1=value1")},
			"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
	} {
		got, err := s.Sign(testKeys, tt.request, testTime)
		if err != nil || got.Authorization != tt.want {
			t.Errorf("%s:\n got %s (%v)\nwant %s", name, got.Authorization, err, tt.want)
		}
		if got.Date != "20150830T123600Z" {
			t.Errorf("%s: date %s", name, got.Date)
		}
	}
}

func TestSignsAsTheSDK(t *testing.T) {
	s := New("bedrock", "eu-west-1")
	for _, path := range []string{
		"/model/anthropic.claude-v2:1/converse",
		"/model/anthropic.claude-v2%3A1/converse",
		"/model/anthropic.claude-v2%3a1/converse-stream",
		"/model/arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.model/converse",
		"/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Ainference-profile%2Feu.model-v1%3A0/invoke",
		"/model/a%20b/invoke", "/model/~tilde_-.*()!$',;=@&/invoke", "/",
		"/guardrail/x/version/1/apply?b=2&a=1&a=0", "/x?empty&also=&z=%2F%2b%20%e2%82%ac", "/x?a/b=1&a-b=2&c=:@,!", "/x?",
	} {
		for _, token := range []string{"", "IQoJb3JpZ2luX2VjEXAMPLE//=="} {
			for _, contentType := range []string{"", "application/json", "multipart/form-data;  boundary=x "} {
				k := testKeys
				k.SessionToken = token
				r := Request{Method: "POST", Host: "bedrock-runtime.eu-west-1.amazonaws.com", Path: path, ContentType: contentType, Body: []byte(`{"a":1}`)}
				got, err := s.Sign(k, r, testTime)
				if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				want := sdkSign(t, k, r, "bedrock", "eu-west-1", testTime)
				if got.Authorization != want.Get("Authorization") {
					t.Errorf("%s, token %q, type %q:\n got %s\nwant %s", path, token, contentType, got.Authorization, want.Get("Authorization"))
				}
				if got.Date != want.Get("X-Amz-Date") || got.SecurityToken != want.Get("X-Amz-Security-Token") {
					t.Errorf("%s: got date %q and token %q", path, got.Date, got.SecurityToken)
				}
			}
		}
	}
}

// The key of the day must not be used for another day or another secret.
func TestKeyIsDerivedAnew(t *testing.T) {
	s := New("bedrock", "us-east-1")
	r := Request{Method: "GET", Host: "h", Path: "/"}
	other := Keys{AccessKeyID: "AKIDOTHER", SecretAccessKey: "other"}
	for i, tt := range []struct {
		k  Keys
		at time.Time
	}{{testKeys, testTime}, {testKeys, testTime.Add(24 * time.Hour)}, {other, testTime.Add(24 * time.Hour)}, {testKeys, testTime}} {
		got, err := s.Sign(tt.k, r, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		if want := sdkSign(t, tt.k, r, "bedrock", "us-east-1", tt.at).Get("Authorization"); got.Authorization != want {
			t.Errorf("step %d:\n got %s\nwant %s", i, got.Authorization, want)
		}
	}
}

func TestSignsTheBody(t *testing.T) {
	s := New("bedrock", "us-east-1")
	r := Request{Method: "POST", Host: "h", Path: "/", Body: []byte("a")}
	a, _ := s.Sign(testKeys, r, testTime)
	r.Body = []byte("b")
	b, _ := s.Sign(testKeys, r, testTime)
	if a.Authorization == b.Authorization {
		t.Error("two bodies have one signature")
	}
}

func TestRefuses(t *testing.T) {
	s := New("bedrock", "us-east-1")
	ok := Request{Method: "POST", Host: "h", Path: "/x"}
	for name, tt := range map[string]struct {
		change func(*Request)
		want   error
	}{
		"no host":           {func(r *Request) { r.Host = "" }, ErrHost},
		"host with newline": {func(r *Request) { r.Host = "h\nx-amz-date:1" }, ErrHost},
		"method":            {func(r *Request) { r.Method = "GET\n/" }, ErrMethod},
		"no path":           {func(r *Request) { r.Path = "" }, ErrPath},
		"relative path":     {func(r *Request) { r.Path = "x" }, ErrPath},
		"dot segment":       {func(r *Request) { r.Path = "/a/../b" }, ErrPath},
		"empty segment":     {func(r *Request) { r.Path = "/a//b" }, ErrPath},
		"blank":             {func(r *Request) { r.Path = "/a b" }, ErrPath},
		"newline":           {func(r *Request) { r.Path = "/a\nb" }, ErrPath},
		"not ASCII":         {func(r *Request) { r.Path = "/é" }, ErrPath},
		"cut escape":        {func(r *Request) { r.Path = "/a%2" }, ErrPath},
		"no escape":         {func(r *Request) { r.Path = "/a%zz" }, ErrPath},
		"plus":              {func(r *Request) { r.Path = "/a?b=c+d" }, ErrQuery},
		"query escape":      {func(r *Request) { r.Path = "/a?b=%" }, ErrQuery},
		"query newline":     {func(r *Request) { r.Path = "/a?b=\n" }, ErrQuery},
		"content type":      {func(r *Request) { r.ContentType = "a\nhost:b" }, ErrContentType},
	} {
		r := ok
		tt.change(&r)
		if _, err := s.Sign(testKeys, r, testTime); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", name, err, tt.want)
		}
	}
}

func FuzzSignsAsTheSDK(f *testing.F) {
	f.Add("/model/a%3A1/converse", "b=1&a=%20", "application/json", []byte("{}"))
	f.Add("/~!*()", "a=b=c&&", "", []byte(nil))
	s := New("bedrock", "us-east-1")
	f.Fuzz(func(t *testing.T, path, query, contentType string, body []byte) {
		if strings.ContainsAny(path, "?") {
			return
		}
		r := Request{Method: "POST", Host: "bedrock-runtime.us-east-1.amazonaws.com", Path: path, ContentType: contentType, Body: body}
		if query != "" {
			r.Path += "?" + query
		}
		got, err := s.Sign(testKeys, r, testTime)
		if err != nil || strings.Trim(contentType, " ") == "" && contentType != "" {
			return
		}
		if want := sdkSign(t, testKeys, r, "bedrock", "us-east-1", testTime).Get("Authorization"); got.Authorization != want {
			t.Errorf("%q:\n got %s\nwant %s", r.Path, got.Authorization, want)
		}
	})
}

func BenchmarkSign220KB(b *testing.B) {
	s := New("bedrock", "us-east-1")
	r := Request{Method: "POST", Host: "bedrock-runtime.us-east-1.amazonaws.com", Path: "/model/anthropic.claude-v2%3A1/converse",
		ContentType: "application/json", Body: bytes.Repeat([]byte("x"), 220<<10)}
	b.ReportAllocs()
	b.SetBytes(int64(len(r.Body)))
	for b.Loop() {
		if _, err := s.Sign(testKeys, r, testTime); err != nil {
			b.Fatal(err)
		}
	}
}
