package fields

import "testing"

func TestErrorsNameThePlace(t *testing.T) {
	for _, tc := range []struct{ doc, want string }{
		{`{"messages":[{"a":1},{"text":5}]}`, "messages[1].text"},
		{`{"messages":{"a":1}}`, "messages"},
		{`{"messages":[7]}`, "messages[0]"},
		{`{"n":1.5}`, "n"},
		{`{"n":"1"}`, "n"},
		{`{"n":null,"messages":null}`, ""},
		{`{"n":1e2,"f":1e2,"messages":[]}`, ""},
		{`{"f":"1"}`, "f"},
		{`{"f":1e999}`, "f"},
		{`{"b":1}`, "b"},
		{`[]`, ""},
	} {
		var r Reader
		r.Each([]byte(tc.doc), func(key, v []byte) {
			switch string(key) {
			case "n":
				r.Int(v)
			case "f":
				r.Float(v)
			case "b":
				r.Bool(v)
			case "messages":
				r.Items(v, func(_ int, v []byte) {
					r.Each(v, func(key, v []byte) {
						if string(key) == "text" {
							r.String(v)
						}
					})
				})
			}
		})
		got := ""
		if r.Err != nil {
			got = r.Err.Param
		}
		if got != tc.want || tc.doc == `[]` && r.Err == nil {
			t.Errorf("%s: got %q (%v), want %q", tc.doc, got, r.Err, tc.want)
		}
	}
}
