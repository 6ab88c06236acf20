package models

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	// As vLLM answers, with an adapter.
	got, err := Parse([]byte(`{"object":"list","data":[
		{"id":"llama","object":"model","created":1763000000,"owned_by":"vllm","root":"/models/llama","parent":null,"max_model_len":8192,"permission":[{"id":"modelperm-1","object":"model_permission"}]},
		{"id":"sql","object":"model","created":1763000001,"owned_by":"vllm","root":"/adapters/sql","parent":"llama","permission":[]}
	]}`))
	want := []Model{
		{ID: "llama", Object: "model", Created: 1763000000, OwnedBy: "vllm"},
		{ID: "sql", Object: "model", Created: 1763000001, OwnedBy: "vllm", Adapter: true},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}

func TestParseWhatIsHostile(t *testing.T) {
	long := strings.Repeat("x", maxText+1)
	for _, tt := range []struct {
		page string
		want []Model
		err  string
	}{
		{`{"data":[]}`, []Model{}, ""},
		{`{"data":[{"id":"a"},{"id":"a","owned_by":"later"},{"id":"b"}]}`, []Model{{ID: "a"}, {ID: "b"}}, ""},
		{`{"data":[{"id":""},{},5,null,"a",{"id":5},{"id":"a\nb"},{"id":"` + long + `"},{"id":"ok"}]}`, []Model{{ID: "ok"}}, ""},
		{`{"data":[{"id":"a","object":5,"created":"now","owned_by":"` + long + `","parent":{},"shutdown_date":null}]}`, []Model{{ID: "a"}}, ""},
		{`{"data":[{"id":"a","created":1.9},{"id":"b","created":-1},{"id":"c","created":1e300}]}`, []Model{{ID: "a", Created: 1}, {ID: "b"}, {ID: "c"}}, ""},
		{`{"data":[{"id":"a","shutdown_date":"2026-12-31"}]}`, []Model{{ID: "a", ShutdownDate: "2026-12-31"}}, ""},
		{``, nil, "no JSON object"},
		{`[]`, nil, "no JSON object"},
		{`{"data":{}}`, nil, "no JSON object"},
		{`{"object":"list"}`, nil, "has no data"},
		{`{"data":null}`, nil, "has no data"},
		{`{"data":[` + strings.Repeat("1,", maxModels) + `1]}`, nil, "at most 4096"},
		{`{"data":` + strings.Repeat("[", 1<<20) + `}`, nil, "no JSON object"},
	} {
		got, err := Parse([]byte(tt.page))
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%.80s: -want +got:\n%s", tt.page, diff)
		}
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%.80s: error %v, want %q", tt.page, err, tt.err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{"data":[{"id":"a","parent":"b","created":1}]}`, `{"data":[{"id":"\ud800"}]}`, `{"data":[1,[],{}]}`, `{"data":5}`, "\x00", `{"DATA":[{"ID":"x"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, page []byte) {
		models, err := Parse(page)
		if err != nil {
			if len(err.Error()) > 200 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		seen := map[string]bool{}
		for _, m := range models {
			if m.ID == "" || seen[m.ID] || len(m.ID)+len(m.Object)+len(m.OwnedBy)+len(m.ShutdownDate) > 4*maxText || m.Created < 0 {
				t.Errorf("%+v", m)
			}
			seen[m.ID] = true
		}
		// What is answered can be read again, and says the same.
		again, err := Parse(encode(models, 1<<30))
		for i := range models {
			models[i].Adapter = false
		}
		if diff := cmp.Diff(models, again); diff != "" || err != nil {
			t.Errorf("%v, %s", err, diff)
		}
	})
}

func TestEncode(t *testing.T) {
	var list []Model
	for i := range 9 {
		list = append(list, Model{ID: fmt.Sprint("m", i)})
	}
	const want = `{"object":"list","data":[{"id":"m0"},{"id":"m1"}]}`
	if got := string(encode(list, len(want))); got != want {
		t.Errorf("got %s", got)
	}
	if got := string(encode(list, len(want)-1)); got != `{"object":"list","data":[{"id":"m0"}]}` {
		t.Errorf("got %s", got)
	}
	if got := string(encode(nil, 100)); got != `{"object":"list","data":[]}` {
		t.Errorf("got %s", got)
	}
}
