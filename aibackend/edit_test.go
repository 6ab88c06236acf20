package aibackend

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"testing"
	"unicode/utf8"
)

func TestEditBody(t *testing.T) {
	set := []Field{{"store", []byte("false")}, {"user", []byte(`"gw"`)}}
	for _, tt := range []struct {
		body   string
		set    []Field
		remove []string
		want   string // "" for an error
	}{
		{`{"model": "m", "store": true}`, set, nil, `{"user":"gw","model": "m", "store": false}`},
		{`{"model": "m", "seed": 1}`, nil, []string{"seed", "gone"}, `{"model": "m"}`},
		{`{"user":"x"}`, set[1:], []string{"user"}, `{"user":"gw"}`},
		{`{"a":{"user":1}}`, nil, []string{"user"}, `{"a":{"user":1}}`},
		{`{}`, set[:1], nil, `{"store":false}`},
		{`[]`, nil, nil, `[]`},
		{`{"user":1,"user":2}`, nil, []string{"user"}, ""},
		{`{"user":1,"us\u0065r":2}`, set[1:], nil, ""},
		{`{}`, []Field{{"a", []byte(`{"b"`)}}, nil, ""},
		{`{}`, []Field{{"a", nil}}, nil, ""},
	} {
		got, err := EditBody([]byte(tt.body), tt.set, tt.remove)
		if string(got) != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %s, %v, want %s", tt.body, got, err, tt.want)
		}
	}
	for _, body := range []string{``, `[]`, `"x"`, `{"a":`, `--form`} {
		if _, err := EditBody([]byte(body), set, nil); !errors.Is(err, ErrNotObject) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func FuzzEditBody(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[2],"c":"x"}`), "a", "b", []byte(`{"x":1}`))
	f.Add([]byte(`{"a":1,"a":2}`), "a", "a", []byte(`null`))
	f.Add([]byte("\xff"), "\xff", "\"", []byte(`]`))
	f.Fuzz(func(t *testing.T, body []byte, set, remove string, value []byte) {
		before := bytes.Clone(body)
		got, err := EditBody(body, []Field{{set, value}}, []string{remove})
		if !bytes.Equal(body, before) {
			t.Fatal("the body was changed in place")
		}
		if err != nil {
			return
		}
		var was, is map[string]json.RawMessage
		if json.Unmarshal(body, &was) != nil || json.Unmarshal(got, &is) != nil {
			t.Fatalf("%s became %s", body, got)
		}
		if !utf8.ValidString(set) || !utf8.ValidString(remove) || !utf8.Valid(body) {
			return // json reads other names than it was given
		}
		maps.DeleteFunc(was, func(k string, _ json.RawMessage) bool { return k == remove })
		var want, have any
		_ = json.Unmarshal(value, &want)
		_ = json.Unmarshal(is[set], &have)
		if !reflect.DeepEqual(want, have) {
			t.Fatalf("%s became %s", body, got)
		}
		delete(was, set)
		delete(is, set)
		if len(was) != len(is) {
			t.Fatalf("%s became %s", body, got)
		}
	})
}
