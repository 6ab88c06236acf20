package jsonlex

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
)

// recorder writes down what it is told, taking texts in pieces of size bytes.
type recorder struct {
	lex  Lexer
	size int
	log  strings.Builder
	text []byte
}

func newRecorder(size, maxDepth int) *recorder {
	r := &recorder{size: size}
	r.lex.Init(r, maxDepth)
	return r
}

func (r *recorder) Open(object bool) {
	if object {
		r.log.WriteByte('{')
	} else {
		r.log.WriteByte('[')
	}
}

func (r *recorder) Close(object bool) {
	if object {
		r.log.WriteByte('}')
	} else {
		r.log.WriteByte(']')
	}
}
func (r *recorder) Literal(c byte) { r.log.WriteByte(c) }
func (r *recorder) Begin(Kind, int64) {
	r.text = r.text[:0]
	if r.size > 0 {
		r.lex.Out = make([]byte, r.size)
	}
}

func (r *recorder) Full() {
	r.text = append(r.text, r.lex.Out...)
	r.lex.Out, r.lex.N = make([]byte, r.size), 0
}

func (r *recorder) End(k Kind, _ int64) {
	if r.size > 0 {
		r.text = append(r.text, r.lex.Out[:r.lex.N]...)
	}
	r.log.WriteString([]string{"k<", "s<", "n<"}[k])
	r.log.Write(r.text)
	r.log.WriteByte('>')
}

func (r *recorder) run(doc string, cuts ...int) (string, error) {
	r.lex.Reset()
	r.log.Reset()
	last := 0
	for _, c := range append(cuts, len(doc)) {
		if r.lex.Write([]byte(doc[last:c])) != nil {
			break
		}
		last = c
	}
	return r.log.String(), r.lex.Finish()
}

func TestTokens(t *testing.T) {
	const doc = ` {"a\n\u00e9" : [ 1, -0.5e+3 ,true,null , false,"\ud83d\ude00\ud83d\\\ud83d"],"":{ "x":{}} } `
	const want = "{k<a\né>[n<1>n<-0.5e+3>tnfs<😀\ufffd\\\ufffd>]k<>{k<x>{}}}"
	for size := 1; size < 20; size++ {
		r := newRecorder(size, 5)
		for i := range len(doc) + 1 {
			for j := i; j <= len(doc); j++ {
				if got, err := r.run(doc, i, j); got != want || err != nil {
					t.Fatalf("buffer of %d, cut at %d and %d: %v\ngot  %q\nwant %q", size, i, j, err, got, want)
				}
			}
		}
	}
	if got, err := newRecorder(0, 5).run(doc); got != "{k<>[n<>n<>tnfs<>]k<>{k<>{}}}" || err != nil {
		t.Fatalf("skipping: %q, %v", got, err)
	}
}

// TestSpecial puts every byte at every place of a word, between all kinds of
// neighbours.
func TestSpecial(t *testing.T) {
	for _, around := range []byte{' ', '!', '#', 'a', '[', ']', 0x7f, 0x80, 0xa2, 0xdc, 0xff} {
		for c := range 256 {
			for at := range 8 {
				var w uint64
				for i := range 8 {
					b := around
					if i == at {
						b = byte(c)
					}
					w |= uint64(b) << (8 * i)
				}
				m := special(w)
				if want := isSpecial(byte(c)); want != (m != 0) || want && m&-m != 0x80<<(8*at) {
					t.Fatalf("%#x at %d among %#x: %#x", c, at, around, m)
				}
			}
		}
	}
}

func TestInt(t *testing.T) {
	for _, tt := range []struct {
		text string
		n    int64
		ok   bool
	}{
		{"0", 0, true}, {"17", 17, true}, {"-17", -17, true}, {"1e3", 1000, true}, {"5.0", 5, true}, {"1.5", 0, false},
		{"999999999999999999", 999999999999999999, true}, {"9223372036854775808", math.MaxInt64, true},
		{"-1e400", math.MinInt64, true}, {"1e400", math.MaxInt64, true}, {"1e-400", 0, true},
	} {
		if n, ok := Int([]byte(tt.text)); n != tt.n || ok != tt.ok {
			t.Errorf("%s: got %d, %v", tt.text, n, ok)
		}
	}
}

func FuzzValid(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":[0,-1.5e+7,true,false,null,"\u00e9\n"]}`, `{"a":00}`, "{\"\x00\":1}", `{"a":"\q"}`, `[]`, ` {"a" : {} } x`, `{"a":[1,],}`} {
		f.Add(s, uint16(3))
	}
	r := newRecorder(9, 10000)
	f.Fuzz(func(t *testing.T, doc string, cut uint16) {
		var top map[string]json.RawMessage
		want := json.Unmarshal([]byte(doc), &top) == nil && top != nil
		log, err := r.run(doc)
		if want != (err == nil) {
			t.Fatalf("valid: %v, error %v", want, err)
		}
		log2, err2 := r.run(doc, int(cut)%(len(doc)+1))
		if log != log2 || (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Fatalf("cut: %q, %v\nwhole: %q, %v", log2, err2, log, err)
		}
		var syntax *SyntaxError
		if err != nil && (!errors.As(err, &syntax) || syntax.Offset > int64(len(doc))) {
			t.Fatal(err)
		}
	})
}
