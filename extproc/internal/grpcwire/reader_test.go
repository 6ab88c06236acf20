package grpcwire

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// recorder writes down what it is told. Fields 1 to 4 with a length are skipped,
// entered, read as bytes, and read as packed numbers.
type recorder struct {
	text strings.Builder
	open []Action
}

func (r *recorder) Message() { r.text.WriteString("<") }
func (r *recorder) End()     { r.text.WriteString(">") }

func (r *recorder) Length(num Number, n uint64) Action {
	a := Action((num - 1) % 4)
	if a != Skip {
		fmt.Fprintf(&r.text, "%d:%d[", num, n)
		r.open = append(r.open, a)
	}
	return a
}

func (r *recorder) Close() {
	r.open = r.open[:len(r.open)-1]
	r.text.WriteString("]")
}

func (r *recorder) Varint(num Number, v uint64) { fmt.Fprintf(&r.text, "%d=%d ", num, v) }

func (r *recorder) Bytes(p []byte) {
	if len(p) == 0 {
		panic("no bytes")
	}
	r.text.WriteString(quoted(p))
}

// quoted quotes each byte for itself: where a rune is cut changes nothing.
func quoted(p []byte) string {
	var b strings.Builder
	for i := range p {
		s := strconv.Quote(string(p[i : i+1]))
		b.WriteString(s[1 : len(s)-1])
	}
	return `"` + b.String() + `"`
}

func frame(flag byte, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message))), message...)
}

func field(num Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), content)
}

func number(num Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v)
}

func join(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// read is what a recorder got of body, cut at the given places, and the error. Bytes of
// one field that came in pieces are joined.
func read(body []byte, request bool, cuts ...int) string {
	var rec recorder
	var r Reader
	r.Reset(&rec, request)
	from := 0
	for _, at := range append(cuts, len(body)) {
		if r.Write(append([]byte(nil), body[from:at]...)) != nil {
			break
		}
		from = at
	}
	if err := r.Finish(); err != nil {
		fmt.Fprintf(&rec.text, " %v", err)
	}
	return strings.ReplaceAll(rec.text.String(), `""`, "")
}

var bodies = map[string]struct {
	body            []byte
	request, answer string // "" as request
}{
	"nothing":      {nil, " invalid gRPC message at byte 0: there is no message", "-"},
	"empty":        {frame(0, nil), "<>", ""},
	"header":       {[]byte{0, 0, 0}, " invalid gRPC message at byte 3: the message ends early", ""},
	"fields":       {frame(0, join(number(5, 300), field(1, []byte("skipped")), field(3, []byte("text")), number(6, 0))), `<5=300 3:4["text"]6=0 >`, ""},
	"nested":       {frame(0, field(2, join(field(2, number(9, 1)), field(3, nil), field(1, nil), field(4, []byte{1, 0x80, 1, 3})))), "<2:14[2:2[9=1 ]3:0[]4:4[0=1 0=128 0=3 ]]>", ""},
	"empty nested": {frame(0, join(field(2, nil), field(4, nil))), "<2:0[]4:0[]>", ""},
	"fixed": {frame(0, join(protowire.AppendFixed32(protowire.AppendTag(nil, 7, protowire.Fixed32Type), 1),
		protowire.AppendFixed64(protowire.AppendTag(nil, 8, protowire.Fixed64Type), 1), number(5, 1<<63))), "<5=9223372036854775808 >", ""},
	"two":         {join(frame(0, number(5, 1)), frame(0, number(5, 2))), "<5=1 > invalid gRPC message at byte 12: there is more than one message", "<5=1 ><5=2 >"},
	"compressed":  {join(frame(1, []byte("anything")), frame(1, nil), frame(0, number(5, 2))), " invalid gRPC message at byte 5: it is compressed; send it uncompressed", "<5=2 >"},
	"flag":        {frame(2, nil), " invalid gRPC message at byte 5: it is neither compressed nor not", ""},
	"short":       {frame(0, field(3, []byte("text")))[:8], `<3:4["t" invalid gRPC message at byte 8: the message ends early`, ""},
	"too long":    {frame(0, []byte{3<<3 | 2, 5, 'a'}), "< invalid gRPC message at byte 7: a field is longer than what it is in", ""},
	"out of it":   {frame(0, field(2, []byte{3<<3 | 2, 1})), "<2:2[ invalid gRPC message at byte 9: a field is longer than what it is in", ""},
	"group":       {frame(0, []byte{1<<3 | 3, 1<<3 | 4}), "< invalid gRPC message at byte 6: a field's type is invalid", ""},
	"number":      {frame(0, []byte{0x80}), "< invalid gRPC message at byte 6: a number ends early", ""},
	"large":       {frame(0, append([]byte{5 << 3}, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2)), "< invalid gRPC message at byte 16: a number is too large", ""},
	"no value":    {frame(0, []byte{5 << 3}), "< invalid gRPC message at byte 6: a field has no value", ""},
	"field 0":     {frame(0, []byte{0, 1}), "< invalid gRPC message at byte 6: a field's number is invalid", ""},
	"fixed short": {frame(0, []byte{7<<3 | 5, 1, 2, 3}), "< invalid gRPC message at byte 6: a field is longer than what it is in", ""},
	"deep": {frame(0, field(2, field(2, field(2, field(2, field(2, field(2, field(2, field(2, nil))))))))),
		"<2:14[2:12[2:10[2:8[2:6[2:4[2:2[2:0[ invalid gRPC message at byte 21: messages are nested too deeply", ""},
}

// TestReader reads each body whole, cut in two at every byte, and by the byte.
func TestReader(t *testing.T) {
	for name, test := range bodies {
		for _, request := range []bool{true, false} {
			want := test.request
			if !request && test.answer != "" {
				want = strings.TrimSuffix(test.answer, "-")
			}
			every := make([]int, len(test.body))
			for i := range every {
				every[i] = i
			}
			for i := -1; i <= len(test.body); i++ {
				cuts := []int{max(i, 0)}
				if i < 0 {
					cuts = every
				}
				if got := read(test.body, request, cuts...); got != want {
					t.Errorf("%s (request: %v), cut at %d: got  %s\nwant %s", name, request, cuts, got, want)
				}
			}
		}
	}
}

func TestReaderKeepsError(t *testing.T) {
	var rec recorder
	var r Reader
	r.Reset(&rec, true)
	first := r.Write(frame(3, nil))
	if first == nil || r.Write(frame(0, nil)) != first || r.Finish() != first || r.Err() != first {
		t.Errorf("the first error, %v, is not the last", first)
	}
	r.Reset(&rec, true)
	if err := r.Write(frame(0, nil)); err != nil {
		t.Errorf("after Reset: %v", err)
	}
}

// oracle is read, of what google.golang.org/protobuf makes of a request's only message;
// ok is false for what it does not take, or is nested too deeply.
func oracle(text *strings.Builder, b []byte, depth int) (ok bool) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num > protowire.MaxValidNumber || typ == protowire.StartGroupType || typ == protowire.EndGroupType {
			return false
		}
		m := protowire.ConsumeFieldValue(num, typ, b[n:])
		if m < 0 {
			return false
		}
		value := b[n : n+m]
		b = b[n+m:]
		switch typ {
		case protowire.VarintType:
			v, _ := protowire.ConsumeVarint(value)
			fmt.Fprintf(text, "%d=%d ", num, v)
		case protowire.BytesType:
			content, _ := protowire.ConsumeBytes(value)
			a := Action((num - 1) % 4)
			if a == Skip {
				continue
			}
			if a != Bytes && depth == maxDepth {
				return false
			}
			fmt.Fprintf(text, "%d:%d[", num, len(content))
			switch a {
			case Enter:
				if !oracle(text, content, depth+1) {
					return false
				}
			case Bytes:
				if len(content) > 0 {
					text.WriteString(quoted(content))
				}
			case Varints:
				for len(content) > 0 {
					v, n := protowire.ConsumeVarint(content)
					if n < 0 {
						return false
					}
					content = content[n:]
					fmt.Fprintf(text, "0=%d ", v)
				}
			}
			text.WriteString("]")
		}
	}
	return true
}

func FuzzReader(f *testing.F) {
	for _, b := range bodies {
		f.Add(b.body, true, uint16(3))
		f.Add(b.body, false, uint16(7))
		if len(b.body) > 5 {
			f.Add(b.body[5:], true, uint16(6))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, request bool, cut uint16) {
		at := int(cut) % (len(body) + 1)
		if whole, parts := read(body, request), read(body, request, at/2, at); whole != parts {
			t.Fatalf("whole: %s\ncut at %d and %d: %s", whole, at/2, at, parts)
		}
		// As a message that is framed well.
		var want strings.Builder
		want.WriteString("<")
		ok := oracle(&want, body, 0)
		got := read(frame(0, body), true, at)
		if failed := strings.Contains(got, " invalid gRPC message at byte "); ok != !failed && !strings.Contains(string(body), "invalid gRPC") {
			t.Fatalf("got %s, and protobuf takes it: %v", got, ok)
		}
		if w := strings.ReplaceAll(want.String()+">", `""`, ""); ok && got != w {
			t.Fatalf("got  %s\nwant %s", got, w)
		}
	})
}
