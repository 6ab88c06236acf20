package tokens

import (
	"encoding/json"

	"github.com/fairway-ai/fairway/internal/jsonscan"
)

// member is a name and a value of the request's object, where they stand in its JSON.
type member struct {
	// name is the decoded name; quoted is true if its JSON is no more than the name
	// between quotes.
	name   []byte
	quoted bool
	value  []byte
}

// readMembers appends the members of the object that body is to dst, in their order.
// It reports false for what is not one valid object. It agrees with encoding/json, but
// reads each byte once and keeps nothing.
func readMembers(dst []member, body []byte) ([]member, bool) {
	i := jsonscan.Space(body, 0)
	if i == len(body) || body[i] != '{' {
		return nil, false
	}
	if i = jsonscan.Space(body, i+1); i < len(body) && body[i] == '}' {
		return dst, jsonscan.Space(body, i+1) == len(body)
	}
	for {
		from := i
		end := jsonscan.Name(body, i)
		if i = jsonscan.Colon(body, end); i < 0 {
			return nil, false
		}
		m := member{name: body[from+1 : end-1]}
		if m.quoted = simple(m.name); !m.quoted {
			var name string
			if json.Unmarshal(body[from:end], &name) != nil {
				return nil, false
			}
			m.name = []byte(name)
		}
		i = jsonscan.Space(body, i)
		if end = jsonscan.Value(body, i, 1); end < 0 {
			return nil, false
		}
		m.value = body[i:end]
		dst = append(dst, m)
		if i = jsonscan.Space(body, end); i == len(body) {
			return nil, false
		}
		switch body[i] {
		case ',':
			i = jsonscan.Space(body, i+1)
		case '}':
			return dst, jsonscan.Space(body, i+1) == len(body)
		default:
			return nil, false
		}
	}
}

// simple reports whether s is the same in JSON, whoever writes it.
func simple[T string | []byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}
