package tokens

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Bounds of an answer.
const (
	maxIDs       = 4 << 20
	maxImages    = 4096
	maxHashBytes = 256
)

var errIDs = errors.New("not a list of token ids")

// idList is a JSON list of numbers from 0 to 2^32-1.
type idList []uint32

// UnmarshalJSON implements json.Unmarshaler for JSON that is known to be valid.
func (l *idList) UnmarshalJSON(b []byte) error {
	if len(b) < 2 || b[0] != '[' {
		return errIDs
	}
	// Each id takes two bytes at least, its comma included.
	out := make([]uint32, 0, min(len(b)/2+1, maxIDs, 16+len(b)/4))
	number, digits := uint64(0), false
	for _, c := range b[1:] {
		switch {
		case c >= '0' && c <= '9':
			if number = number*10 + uint64(c-'0'); number > 1<<32-1 {
				return errIDs
			}
			digits = true
		case c == ',' || c == ']':
			if !digits {
				if c == ']' && len(out) == 0 {
					break
				}
				return errIDs
			}
			if len(out) == maxIDs {
				return errIDs
			}
			out = append(out, uint32(number))
			number, digits = 0, false
		case c == ' ' || c == '\n' || c == '\t' || c == '\r':
		default: // a sign, a fraction, an exponent, or no number at all
			return errIDs
		}
	}
	*l = out
	return nil
}

// answer is what an endpoint said of a prompt.
type answer struct {
	ids    []uint32
	images []Image
	// err is why the prompt has no tokens: [ErrRefused] or [ErrImages].
	err error
}

// rendered is the part of a render route's answer that is read.
type rendered struct {
	TokenIDs idList          `json:"token_ids"`
	Features json.RawMessage `json:"features"`
}

// features are the items of a prompt that are not text, by their kind.
type features struct {
	Hashes map[string][]string `json:"mm_hashes"`
	Places map[string][]place  `json:"mm_placeholders"`
}

type place struct {
	Offset *int `json:"offset"`
	Length *int `json:"length"`
}

// parseRender reads the answer of a render route: one prompt, or a list of one.
func parseRender(body []byte) (answer, error) {
	var one rendered
	err := json.Unmarshal(body, &one)
	if err != nil {
		var list []rendered
		if json.Unmarshal(body, &list) != nil || len(list) != 1 {
			return answer{}, fmt.Errorf("%w: neither a prompt nor a list of one", ErrAnswer)
		}
		one = list[0]
	}
	if one.TokenIDs == nil {
		return answer{}, fmt.Errorf("%w: no token_ids", ErrAnswer)
	}
	a := answer{ids: slices.Clip([]uint32(one.TokenIDs))}
	if len(one.Features) == 0 || string(one.Features) == "null" {
		return a, nil
	}
	var f features
	if json.Unmarshal(one.Features, &f) != nil {
		return answer{}, fmt.Errorf("%w: features are not understood", ErrAnswer)
	}
	a.images, err = f.images(len(a.ids))
	return a, err
}

// images checks f against a prompt of n tokens.
func (f *features) images(n int) ([]Image, error) {
	var out []Image
	if len(f.Hashes) != len(f.Places) {
		return nil, fmt.Errorf("%w: as many hashes as places are needed", ErrAnswer)
	}
	for kind, hashes := range f.Hashes {
		places := f.Places[kind]
		if len(places) != len(hashes) || len(out)+len(hashes) > maxImages {
			return nil, fmt.Errorf("%w: as many hashes as places are needed, and %d at most", ErrAnswer, maxImages)
		}
		for i, hash := range hashes {
			p := places[i]
			switch {
			case hash == "" || len(hash) > maxHashBytes:
				return nil, fmt.Errorf("%w: a hash must have 1 to %d bytes", ErrAnswer, maxHashBytes)
			case p.Offset == nil || p.Length == nil || *p.Offset < 0 || *p.Length < 1 || *p.Offset > n || *p.Length > n-*p.Offset:
				return nil, fmt.Errorf("%w: an image is outside the prompt", ErrAnswer)
			}
			out = append(out, Image{Hash: hash, At: *p.Offset, Length: *p.Length})
		}
	}
	slices.SortFunc(out, func(a, b Image) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Hash, b.Hash))
	})
	for i := 1; i < len(out); i++ {
		if out[i].At < out[i-1].At+out[i-1].Length {
			return nil, fmt.Errorf("%w: images overlap", ErrAnswer)
		}
	}
	return out, nil
}

// parseTokenize reads the answer of /tokenize.
func parseTokenize(body []byte) (answer, error) {
	var t struct {
		Tokens idList `json:"tokens"`
		Count  *int   `json:"count"`
	}
	switch {
	case json.Unmarshal(body, &t) != nil || t.Tokens == nil:
		return answer{}, fmt.Errorf("%w: no tokens", ErrAnswer)
	case t.Count != nil && *t.Count != len(t.Tokens):
		return answer{}, fmt.Errorf("%w: the count is not the number of tokens", ErrAnswer)
	}
	return answer{ids: slices.Clip([]uint32(t.Tokens))}, nil
}

// modelMissing reports whether an answer of status 404 is about the model, and not
// about the route.
func modelMissing(body []byte) bool {
	var e struct {
		Type  string `json:"type"`
		Error struct {
			Type string `json:"type"`
		} `json:"error"`
	}
	const missing = "NotFoundError"
	return json.Unmarshal(body, &e) == nil && (e.Type == missing || e.Error.Type == missing)
}
