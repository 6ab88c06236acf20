package tokens

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/pool/kvevents/index"
)

func TestParseRender(t *testing.T) {
	image := func(hashes, places string) string {
		return `{"token_ids":[1,2,3,4],"features":{"mm_hashes":{"image":` + hashes + `},"mm_placeholders":{"image":` + places + `}}}`
	}
	tests := []struct {
		body   string
		ids    []uint32
		images []Image
		bad    bool
	}{
		{body: `{"token_ids":[0, 4294967295 ,7]}`, ids: []uint32{0, 1<<32 - 1, 7}},
		{body: `[{"token_ids":[1]}]`, ids: []uint32{1}},
		{body: `{"token_ids":[],"features":null}`, ids: []uint32{}},
		{body: `{"token_ids":[4294967296]}`, bad: true},
		{body: `{"token_ids":[99999999999999999999999999]}`, bad: true},
		{body: `{"token_ids":[-1]}`, bad: true},
		{body: `{"token_ids":[1.0]}`, bad: true},
		{body: `{"token_ids":[1e3]}`, bad: true},
		{body: `{"token_ids":["1"]}`, bad: true},
		{body: `{"token_ids":[[1]]}`, bad: true},
		{body: `{"token_ids":[null]}`, bad: true},
		{body: `{"token_ids":null}`, bad: true},
		{body: `{"token_ids":{}}`, bad: true},
		{body: `[]`, bad: true},
		{body: `[{"token_ids":[1]},{"token_ids":[1]}]`, bad: true},
		{body: image(`["b","a"]`, `[{"offset":3,"length":1},{"offset":0,"length":2}]`), ids: []uint32{1, 2, 3, 4},
			images: []Image{{"a", 0, 2}, {"b", 3, 1}}},
		{body: image(`["a"]`, `[]`), bad: true},
		{body: image(`["a"]`, `[{"offset":3,"length":2}]`), bad: true},
		{body: image(`["a"]`, `[{"offset":-1,"length":2}]`), bad: true},
		{body: image(`["a"]`, `[{"offset":1,"length":9223372036854775807}]`), bad: true},
		{body: image(`["a"]`, `[{"offset":1}]`), bad: true},
		{body: image(`[""]`, `[{"offset":1,"length":1}]`), bad: true},
		{body: image(`["a","b"]`, `[{"offset":0,"length":2},{"offset":1,"length":1}]`), bad: true},
		{body: `{"token_ids":[1],"features":"opaque"}`, bad: true},
		{body: `{"token_ids":[1],"features":{"mm_hashes":{"image":["a"]}}}`, bad: true},
	}
	for _, test := range tests {
		a, err := parseRender([]byte(test.body))
		if test.bad {
			if !errors.Is(err, ErrAnswer) {
				t.Errorf("%s: %v, %v", test.body, a, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(a.ids, test.ids) || !reflect.DeepEqual(a.images, test.images) {
			t.Errorf("%s: %v, %v", test.body, a, err)
		}
	}
}

func TestParseTokenize(t *testing.T) {
	for body, ok := range map[string]bool{
		`{"tokens":[1,2],"count":2}`: true, `{"tokens":[1,2]}`: true,
		`{"tokens":[1,2],"count":3}`: false, `{"count":0}`: false, `[1]`: false, `{"tokens":["a"]}`: false,
	} {
		if a, err := parseTokenize([]byte(body)); (err == nil) != ok {
			t.Errorf("%s: %v, %v", body, a, err)
		}
	}
}

func TestTooManyIDs(t *testing.T) {
	var ids idList
	if ids.UnmarshalJSON([]byte("["+strings.Repeat("1,", maxIDs)+"1]")) == nil {
		t.Fatal("accepted")
	}
}

func TestMalformedRequests(t *testing.T) {
	tests := []struct {
		path, body string
		want       error
	}{
		{"/v1/embeddings", `{"input":"x"}`, ErrUnsupported},
		{chat, ``, ErrMalformed},
		{chat, `null`, ErrMalformed},
		{chat, `[]`, ErrMalformed},
		{chat, `{"messages":"x"}`, ErrMalformed},
		{chat, `{"messages":[],"cache_salt":1}`, ErrMalformed},
		{chat, `{"messages":[],"model":1}`, ErrMalformed},
		{completion, `{}`, ErrMalformed},
		{completion, `{"prompt":[]}`, ErrMalformed},
		{completion, `{"prompt":[[]]}`, ErrMalformed},
		{completion, `{"prompt":[-1]}`, ErrMalformed},
		{completion, `{"prompt":[1,"a"]}`, ErrMalformed},
		{completion, `{"prompt":{}}`, ErrMalformed},
		{completion, `{"prompt":"x","add_special_tokens":1}`, ErrMalformed},
		{completion, `{"prompt":"` + strings.Repeat("x", 200) + `"}`, ErrTooLarge},
	}
	for _, test := range tests {
		_, err := readPrompt(Request{Path: test.path, Body: []byte(test.body)}, 100)
		if !errors.Is(err, test.want) {
			t.Errorf("%s %s: %v", test.path, test.body, err)
		}
	}
}

func TestExtras(t *testing.T) {
	tests := []struct {
		t    Tokens
		want string
	}{
		{Tokens{}, "[]"},
		{Tokens{Salt: "s"}, "[{0 s}]"},
		{Tokens{Salt: "s", Images: []Image{{"a", 1, 2}}}, "[{0 a} {0 s}]"},
		{Tokens{Salt: "s", Images: []Image{{"a", 5, 2}}}, "[{0 s} {4 a}]"},
		{Tokens{Images: []Image{{"a", 3, 6}, {"b", 9, 1}, {"c", 10, 7}}}, "[{0 a} {4 a} {8 a} {8 b} {8 c} {12 c} {16 c}]"},
		{Tokens{Images: []Image{{"a", 40, 4}}}, "[{40 a}]"},
	}
	for _, test := range tests {
		if got := fmt.Sprint(test.t.Extras(4)); got != test.want {
			t.Errorf("%+v: %s, want %s", test.t, got, test.want)
		}
	}
	var _ []index.Extra = (&Tokens{}).Extras(0)
}

func TestCacheIsBounded(t *testing.T) {
	key := func(i int) [sha256.Size]byte { return sha256.Sum256(fmt.Append(nil, i)) }
	now := time.Unix(0, 0)
	const size = entryBytes + 4*100
	c := newCache(10 * size)
	for i := range 100 {
		c.put(key(i), answer{ids: make([]uint32, 100)}, now.Add(1))
		c.get(key(0), now) // keeps it young
	}
	if n, bytes := c.used(); n != 10 || bytes != 10*size {
		t.Fatalf("%d entries, %d bytes", n, bytes)
	}
	for i, want := range map[int]bool{0: true, 1: false, 90: false, 91: true, 99: true} {
		if _, ok := c.get(key(i), now); ok != want {
			t.Errorf("entry %d is there: %v", i, ok)
		}
	}
	c.put(key(0), answer{ids: make([]uint32, 10000)}, now.Add(1))
	if _, ok := c.get(key(0), now); ok {
		t.Error("an answer larger than the cache is kept, or an old one instead of it")
	}
	if _, ok := c.get(key(99), now.Add(1)); ok {
		t.Error("an old answer is given")
	}
	if n, bytes := c.used(); n != 8 || bytes != 8*size {
		t.Fatalf("%d entries, %d bytes", n, bytes)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"token_ids":[1,2,3],"features":{"mm_hashes":{"image":["a"]},"mm_placeholders":{"image":[{"offset":1,"length":2}]}}}`))
	f.Add([]byte(`[{"token_ids":[1]}]`))
	f.Add([]byte(`{"tokens":[1,2],"count":2}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if a, err := parseRender(body); err == nil {
			end := 0
			for _, i := range a.images {
				if i.At < end || i.Length < 1 || i.At+i.Length > len(a.ids) {
					t.Fatalf("images %v of %d ids", a.images, len(a.ids))
				}
				end = i.At + i.Length
			}
			tokens := Tokens{Salt: "s", Images: a.images}
			at := 0
			for _, x := range tokens.Extras(16) {
				if x.At < at || x.At%16 != 0 {
					t.Fatalf("extras %v", tokens.Extras(16))
				}
				at = x.At
			}
		}
		if a, err := parseTokenize(body); err == nil && a.ids == nil {
			t.Fatal("no ids and no error")
		}
		modelMissing(body)
	})
}

func FuzzRequest(f *testing.F) {
	paths := []string{completion, chat, messages, responses, generate}
	f.Add(uint8(2), []byte(`{"messages":[{"content":[{"type":"tool_result","content":[{"type":"image"}]}]}]}`))
	f.Add(uint8(3), []byte(`{"input":[{"type":"function_call_output","output":"x"}]}`))
	f.Add(uint8(4), []byte(`{"input_ids":[[1],[2]]}`))
	f.Add(uint8(4), []byte(`{"token_ids":[1],"features":{"mm_hashes":{"image":["h"]},"mm_placeholders":{"image":[{"offset":0,"length":1}]}}}`))
	f.Add(uint8(1), []byte(`{"messages":[{"content":[{"type":"text"}]}],"model":"m"}`))
	f.Add(uint8(0), []byte(`{"prompt":["a","b"],"cache_salt":"s"}`))
	f.Add(uint8(0), []byte(`{"prompt":[[1,2]]}`))
	f.Add(uint8(1), []byte(`{"messages":[{"content":"x"}],"tools":[{"type":"function"}],"chat_template":"t","temperature":1,"new":{"a":[1]}}`))
	f.Add(uint8(1), []byte(`{"m\u006fdel":"<\ud800","model":1,"messages":[ ],"messages" : [1e-3,-0.5,true,{}] , "\ufffd":null}`))
	f.Fuzz(func(t *testing.T, api uint8, body []byte) {
		path := paths[int(api)%len(paths)]
		p, err := readPrompt(Request{Path: path, Body: body}, 1<<16)
		if is := isObject(body); len(body) <= 1<<16 && is == (err == ErrMalformed) {
			t.Fatalf("%q is an object: %v, readPrompt says %v", body, is, err)
		}
		if err != nil || p.known != nil {
			return
		}
		key := p.key
		p.keep()
		p.hasImages()
		hash := sha256.Sum256(append([]byte{byte(p.render)}, p.body...))
		if p.key != key || hash != key {
			t.Fatalf("the key of %q is not its hash", p.body)
		}
		if !json.Valid(p.body) {
			t.Fatalf("%q is made of %q", p.body, body)
		}
		again, err := readPrompt(Request{Path: path, Body: p.body}, 1<<17)
		if err != nil || again.key != p.key {
			t.Fatalf("%s is read as %v, %v", p.body, again, err)
		}
		if want := asked(body, p.chat); string(want) != string(p.body) {
			t.Fatalf("asked %s, want %s", p.body, want)
		}
	})
}

func isObject(body []byte) bool {
	var members map[string]json.RawMessage
	return json.Unmarshal(body, &members) == nil && members != nil
}

// asked is what an endpoint is asked about a request, by encoding/json.
func asked(body []byte, isChat bool) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return nil
	}
	if raw := members["prompt"]; !isChat && len(raw) > 0 && raw[0] == '[' {
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) == nil && len(list) > 0 && (list[0][0] == '"' || list[0][0] == '[') {
			members["prompt"] = list[0]
		}
	}
	var out []byte
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if unread[name] || string(members[name]) == "null" {
			continue
		}
		quoted, _ := json.Marshal(name)
		out = append(append(append(append(out, ','), quoted...), ':'), members[name]...)
	}
	if len(out) == 0 {
		return []byte("{}")
	}
	out[0] = '{'
	return append(out, '}')
}

// TestMembersLikeEncodingJSON holds readMembers to what it says of encoding/json.
func TestMembersLikeEncodingJSON(t *testing.T) {
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}" }
	for _, body := range []string{
		`{}`, ` { } `, `{"a":1}x`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{"a" : 1 , "b" : [ 1 , { "c" : null } ] }`, `{"a":[1`, `{`, ``, ` `, `{"a":[1,]}`, `{"a":[,1]}`,
		`{"a":{"b":1,}}`, `{"a":{1:2}}`, `{"a":{"b"1}}`, `{"a":[1 2]}`, `{"a":[1}`, `{"a":{"b":1]}`, `{"a":01}`, `{"a":-}`, `{"a":-0}`, `{"a":0.}`, `{"a":.5}`,
		`{"a":1e}`, `{"a":1E+}`, `{"a":1e+5}`, `{"a":1.5e-5}`, `{"a":+1}`, `{"a":tru}`, `{"a":true}`, `{"a":nul}`, `{"a":falsey}`, `{"a":"\u12G4"}`, `{"a":"\u123"}`,
		`{"a":"\uabCD"}`, `{"a":"\x"}`, `{"a":"\`, `{"a":"\\`, "{\"a\":\"\n\"}", "{\"a\":\"\x7f\x80\xff\"}", `{"a":"0123456789abcde\"f"}`, "{\"a\":\"0123456\x1f\"}",
		`{"a":"0123456789abcdef0123456789abcdef ü 東京 !!!!  #####"}`, "{\"a\":\"\x00\"}", "\v{}", `[{}]`, `{"a":1}{}`, `{"a":[[],{},[{}]]}`, deep(64), deep(9_999), deep(10_000),
		`{"a":1,"a":2,"\u0061":3}`, `{"a":` + strings.Repeat(`{"b":[`, 100) + `1` + strings.Repeat(`]}`, 100) + `}`,
	} {
		members, ok := readMembers(nil, []byte(body))
		var want map[string]json.RawMessage
		if valid := json.Unmarshal([]byte(body), &want) == nil; ok != valid {
			t.Errorf("%.60q: %v, encoding/json says %v", body, ok, valid)
		}
		got := map[string]string{}
		for _, m := range members {
			got[string(m.name)] = string(m.value)
		}
		for name, value := range want {
			if ok && got[name] != string(value) {
				t.Errorf("%.60q: %q is %q, want %q", body, name, got[name], value)
			}
		}
	}
}
