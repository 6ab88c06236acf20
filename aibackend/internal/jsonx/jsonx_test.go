package jsonx

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestApply(t *testing.T) {
	model := Edit{Key: "model", Value: []byte(`"new"`)}
	noModel := Edit{Key: "model"}
	noStream := Edit{Key: "stream"}
	version := Edit{Key: "v", Value: []byte(`1`)}
	keep := Edit{Key: "v", Value: []byte(`1`), Keep: true}
	for _, tc := range []struct {
		doc   string
		edits []Edit
		want  string
	}{
		{`{"a":1,"model":"x","b":[2]}`, []Edit{model}, `{"a":1,"model":"new","b":[2]}`},
		{"{ \"model\" :\t\"x\"\n}", []Edit{model}, "{ \"model\" :\t\"new\"\n}"},
		{`{"mod\u0065l":"x"}`, []Edit{model}, `{"mod\u0065l":"new"}`},
		{`{"a":{"model":"x"},"b":"model"}`, []Edit{model}, `{"model":"new","a":{"model":"x"},"b":"model"}`},
		{`{}`, []Edit{model}, `{"model":"new"}`},
		{`{}`, []Edit{noModel}, `{}`},
		{` {"model":"new"} `, []Edit{model}, ` {"model":"new"} `},
		{`{"model":"x"}`, []Edit{noModel}, `{}`},
		{`{"model":"x","stream":true}`, []Edit{noModel, noStream}, `{}`},
		{`{"a":1,"model":"x" , "stream":true}`, []Edit{noModel, noStream}, `{"a":1}`},
		{`{"model":"x","a":1,"stream":true,"b":2}`, []Edit{noModel, noStream}, `{"a":1,"b":2}`},
		{`{"a":1 , "model":"x"}`, []Edit{noModel, version}, `{"v":1,"a":1 }`},
		{`{"model":"x"}`, []Edit{noModel, version}, `{"v":1}`},
		{`{"model":"x"}`, []Edit{version, model}, `{"v":1,"model":"new"}`},
		{`{"v":7}`, []Edit{keep}, `{"v":7}`},
		{`{"a":"}\"{,","model":"x"}`, []Edit{model}, `{"a":"}\"{,","model":"new"}`},
	} {
		got, err := Apply([]byte(tc.doc), tc.edits)
		if err != nil || string(got) != tc.want {
			t.Errorf("%s: got %s, %v, want %s", tc.doc, got, err, tc.want)
		}
	}
	for _, doc := range []string{`[]`, `"x"`, ``, `{"model":"a","model":"b"}`, `{"model":"a","mod\u0065l":"b"}`} {
		if got, err := Apply([]byte(doc), []Edit{model}); err == nil {
			t.Errorf("%s: got %s, want an error", doc, got)
		}
	}
}

// FuzzApply compares the edits of a document with those of a map.
func FuzzApply(f *testing.F) {
	f.Add([]byte(`{"a":1,"model":"x","b":[2],"stream":true}`), true, true)
	f.Add([]byte(`{"stream": true , "x":{"model":1}}`), false, true)
	f.Fuzz(func(t *testing.T, doc []byte, remove, insert bool) {
		if Valid(doc) != nil {
			return
		}
		var want map[string]any
		if json.Unmarshal(doc, &want) != nil || want == nil {
			return
		}
		edits := []Edit{{Key: "model", Value: []byte(`"new"`)}}
		if remove {
			edits = append(edits, Edit{Key: "stream"})
		}
		if insert {
			edits = append(edits, Edit{Key: "v", Value: []byte(`[1]`), Keep: true})
		}
		before := bytes.Clone(doc)
		out, err := Apply(doc, edits)
		if !bytes.Equal(doc, before) {
			t.Fatal("the document was changed in place")
		}
		if err != nil {
			return // a member twice
		}
		want["model"] = "new"
		if remove {
			delete(want, "stream")
		}
		if _, ok := want["v"]; insert && !ok {
			want["v"] = []any{1.0}
		}
		var got map[string]any
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%s became %s: %v", doc, out, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s became %s", doc, out)
		}
	})
}

// FuzzWalk compares the walk with a map, and checks that no document makes it panic.
func FuzzWalk(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\"}"}],"c":null,"d\n":-1.5e3}`))
	f.Add([]byte(`{"a":`))
	f.Add([]byte(`["x",`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		got := map[string]any{}
		_, _ = Each(doc, func(key, v []byte) error {
			var x any
			_ = json.Unmarshal(v, &x)
			got[string(key)] = x
			return nil
		})
		var items []any
		_, _ = Items(doc, func(_ int, v []byte) error {
			var x any
			_ = json.Unmarshal(v, &x)
			items = append(items, x)
			return nil
		})
		if Valid(doc) != nil {
			return
		}
		var want any
		if json.Unmarshal(doc, &want) != nil { // numbers out of range
			return
		}
		switch want := want.(type) {
		case map[string]any:
			// A key keeps bytes that are no UTF-8, which json replaces.
			if utf8.Valid(doc) && !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: got %v", doc, got)
			}
		case []any:
			if len(want) > 0 && !reflect.DeepEqual(items, want) {
				t.Fatalf("%s: got %v", doc, items)
			}
		case string:
			if s, ok := Unquote(doc); !ok || s != want {
				t.Fatalf("%s: got %q", doc, s)
			}
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, doc); err != nil || string(AppendCompact(nil, doc)) != compact.String() {
			t.Fatalf("%s: compact is %s", doc, AppendCompact(nil, doc))
		}
	})
}

// FuzzMember compares the incremental search with a decoder.
func FuzzMember(f *testing.F) {
	f.Add([]byte(`{"x":{"usage":1},"usage":{"a":[1,2]},"y":"usage"}`), 5)
	f.Add([]byte(`{"usage":1,"usage":"\"}"}`), 1)
	f.Add([]byte(`{"":0,"model":"a","usage":{"model":1},"models":2,"model":"b"}`), 30)
	f.Fuzz(func(t *testing.T, doc []byte, cut int) {
		m := Member{Key: "usage", Other: "model"}
		cut = min(max(cut, 0), len(doc))
		m.Write(doc[:cut])
		m.Write(doc[cut:])
		var want map[string]json.RawMessage
		if Valid(doc) != nil || json.Unmarshal(doc, &want) != nil || len(doc) > maxMember {
			return
		}
		if bytes.Contains(doc, []byte(`\u`)) {
			return // keys are compared as they stand: providers write them plainly
		}
		if got := m.Value(); string(want["usage"]) != string(got) {
			t.Fatalf("%s: got %s, want %s", doc, got, want["usage"])
		}
		if got := m.OtherValue(); string(want["model"]) != string(got) {
			t.Fatalf("%s: the other is %s, want %s", doc, got, want["model"])
		}
	})
}

func FuzzAppendString(f *testing.F) {
	f.Add("a\"\\\n\x00\u2028é\xff<>&")
	f.Fuzz(func(t *testing.T, s string) {
		for _, doc := range [][]byte{AppendString(nil, s), AppendQuoted(nil, []byte(s))} {
			var got string
			if err := json.Unmarshal(doc, &got); err != nil || got != strings.ToValidUTF8(s, "\ufffd") && got != jsonValid(s) {
				t.Fatalf("%q became %s: %v", s, doc, err)
			}
		}
	})
}

// jsonValid is s as encoding/json mends it: one U+FFFD for each wrong byte.
func jsonValid(s string) (out string) {
	b, _ := json.Marshal(s)
	_ = json.Unmarshal(b, &out)
	return out
}

func TestDepthIsBounded(t *testing.T) {
	deep := []byte(strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000))
	if Valid(deep) == nil {
		t.Error("a deep document was accepted")
	}
	if err := Valid([]byte(`{"a":[[]]}`)); err != nil {
		t.Error(err)
	}
}

func TestWriter(t *testing.T) {
	var w Writer
	f, n, b := 0.5, int64(-3), true
	w.Open()
	w.String("s", "a\"b")
	w.Text("none", "")
	w.OpenArrayKey("list")
	w.Value("x")
	w.RawValue([]byte("[]"))
	w.Open()
	w.Close()
	w.CloseArray()
	w.Float("f", &f)
	w.Float("nof", nil)
	w.IntPtr("n", &n)
	w.BoolPtr("b", &b)
	w.Strings("no", nil)
	w.Document("d", []byte(" { \"a b\" : [ 1 , 2 ] } "))
	w.Close()
	want := map[string]any{"s": `a"b`, "list": []any{"x", []any{}, map[string]any{}}, "f": 0.5, "n": -3.0, "b": true, "d": map[string]any{"a b": []any{1.0, 2.0}}}
	var got map[string]any
	if err := json.Unmarshal(w.B, &got); err != nil || !maps.EqualFunc(got, want, func(a, b any) bool { return reflect.DeepEqual(a, b) }) {
		t.Errorf("%s: %v", w.B, err)
	}
}
