package relay

import (
	"bytes"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// verdictOf adds messages to a verdict on a request with these body messages.
func verdictOf(t testing.TB, body []string, messages ...*resp) *verdict {
	t.Helper()
	v := &verdict{limit: 1 << 20}
	for i, b := range body {
		v.passed(mem.BufferSlice{mem.SliceBuffer(b)}, i == len(body)-1)
	}
	if len(body) == 0 {
		v.bodyless()
	}
	for _, m := range messages {
		a, err := decode(encoded(t, m))
		if err != nil {
			t.Fatal(err)
		}
		if err := v.answer(&a); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func TestVerdict(t *testing.T) {
	d := dialect{}
	pick := d.pickAnswer(0)
	ack := answerBody(&extprocv3.CommonResponse{})
	empty := answerHeaders(&extprocv3.CommonResponse{})
	metadataOnly := &resp{DynamicMetadata: pickMetadata()}
	back := func(s string, end bool) *resp { return answerBody(streamedBack([]byte(s), end)) }
	put := func(s string) *resp { return answerBody(replacement([]byte(s))) }
	whole := answerHeaders(replacement([]byte("xyz")))
	whole.GetRequestHeaders().Response.Status = extprocv3.CommonResponse_CONTINUE_AND_REPLACE
	whole.DynamicMetadata = pickMetadata()
	two := []string{"abc", "def"}
	for _, tt := range []struct {
		name              string
		body              []string
		messages          []*resp
		complete, settled bool
		want              string // the new body; "=" for none
	}{
		{"no body", nil, []*resp{pick}, true, true, "="},
		{"nothing yet", two, nil, false, false, "="},
		{"the pick alone", two, []*resp{pick}, false, true, "="},
		{"acknowledged", two, []*resp{ack, pick, ack}, true, true, "="},
		{"acknowledged too often", two, []*resp{ack, ack, ack, ack, pick}, true, true, "="},
		{"acknowledged too rarely", two, []*resp{pick, ack}, false, true, "="},
		{"streamed back", two, []*resp{pick, back("abcd", false), back("ef", true)}, true, true, "="},
		{"streamed back, with an empty end", two, []*resp{pick, back("abcdef", false), back("", true)}, true, true, "="},
		{"streamed back without its end", two, []*resp{pick, back("abcdef", false)}, false, false, "="},
		{"body first", two, []*resp{back("abcdef", true), pick}, true, true, "="},
		{"more after the end", two, []*resp{pick, back("abcdef", true), back("abcdef", true), ack, pick}, true, true, "="},
		{"changed", two, []*resp{pick, back("abX", false), back("def", true)}, true, true, "abXdef"},
		{"longer", two, []*resp{pick, back("abcdefg", true)}, true, true, "abcdefg"},
		{"shorter", two, []*resp{pick, back("ab", true)}, true, true, "ab"},
		{"emptied", two, []*resp{pick, back("", true)}, true, true, ""},
		{"replaced as buffered", two, []*resp{empty, ack, put("new"), metadataOnly}, true, true, "new"},
		{"each replaced", two, []*resp{pick, put("1"), put("2")}, true, true, "12"},
		{"the first replaced", two, []*resp{pick, put("1"), ack}, true, true, "1def"},
		{"replaced by itself", two, []*resp{pick, ack, put("abcdef")}, true, true, "="},
		{"replaced with the headers", two, []*resp{whole}, true, true, "xyz"},
		{"the pick as metadata, late", two, []*resp{empty, back("abcdef", true), metadataOnly}, true, true, "="},
		{"no pick", two, []*resp{empty, ack, ack}, false, false, "="},
		{"headers never answered", two, []*resp{metadataOnly, back("abcdef", true)}, false, true, "="},
		{"refused", two, []*resp{immediate(503, "")}, true, true, "="},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := verdictOf(t, tt.body, tt.messages...)
			if v.complete() != tt.complete || v.settled() != tt.settled {
				t.Errorf("complete %v, settled %v", v.complete(), v.settled())
			}
			got := "="
			if c, err := v.change(); err == nil && c.BodyChanged {
				got = string(c.Body.Materialize())
			}
			if tt.settled && got != tt.want {
				t.Errorf("body %q, want %q", got, tt.want)
			}
		})
	}
}

// TestHeaderSemantics: what a picker says of headers reaches Envoy as it was said.
func TestHeaderSemantics(t *testing.T) {
	option := func(name, value string, action corev3.HeaderValueOption_HeaderAppendAction) *corev3.HeaderValueOption {
		return &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: name, Value: value}, AppendAction: action}
	}
	legacy := hv("x-legacy", "1")
	// The deprecated field `append`.
	if err := (proto.UnmarshalOptions{Merge: true}).Unmarshal(appendBytes(nil, 2, []byte{8, 1}), legacy); err != nil {
		t.Fatal(err)
	}
	set := []*corev3.HeaderValueOption{
		option("x-a", "1", corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD),
		option("x-b", "2", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD),
		option("x-c", "3", corev3.HeaderValueOption_ADD_IF_ABSENT),
		option("x-d", "4", corev3.HeaderValueOption_OVERWRITE_IF_EXISTS),
		legacy, hv(":path", "/v1/other"), hv("x-twice", "fail: missing"), hv("x-twice", "ok"),
	}
	bad := []*corev3.HeaderValueOption{hv("", "x"), hv("x y", "x"), hv("x-y", "a\r\nb"), hv("content-length", "3"), hv("x-gone", "1")}
	v := verdictOf(t, nil, answerHeaders(&extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{
		SetHeaders: append(append([]*corev3.HeaderValueOption{}, set...), bad...), RemoveHeaders: []string{"x-old", "bad\n"},
	}}), &resp{DynamicMetadata: pickMetadata()}, answerBody(&extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{RemoveHeaders: []string{"X-Gone"}}}))
	c, err := v.change()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.RemoveHeaders, " "); got != "x-old X-Gone" {
		t.Errorf("removed %q", got)
	}
	set = append(set, &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: "x-gateway-destination-endpoint", RawValue: []byte(picked)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	})
	if len(c.SetHeaders) != len(set) {
		t.Fatalf("%d headers, want %d", len(c.SetHeaders), len(set))
	}
	for i, raw := range c.SetHeaders {
		var got corev3.HeaderValueOption
		if err := proto.Unmarshal(raw, &got); err != nil || !proto.Equal(&got, set[i]) {
			t.Errorf("got %v, %v, want %v", &got, err, set[i])
		}
	}
}

// TestMetadataMerges: of several messages, each namespace's keys add up.
func TestMetadataMerges(t *testing.T) {
	md := func(namespace, key, value string) *resp {
		return &resp{DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			namespace: structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{key: structpb.NewStringValue(value)}}),
		}}}
	}
	d := dialect{onlyHeader: true}
	v := verdictOf(t, nil, md("envoy.lb", "x", "1"), md("envoy.lb", "x", "2"), md("envoy.lb", "y", "3"), md("other", "z", "4"), d.pickAnswer(0))
	c, err := v.change()
	if err != nil {
		t.Fatal(err)
	}
	var got structpb.Struct
	if err := proto.Unmarshal(c.Metadata, &got); err != nil {
		t.Fatal(err)
	}
	lb := got.Fields["envoy.lb"].GetStructValue().GetFields()
	if lb["x"].GetStringValue() != "2" || lb["y"].GetStringValue() != "3" || lb["x-gateway-destination-endpoint"].GetStringValue() != picked ||
		got.Fields["other"].GetStructValue().GetFields()["z"].GetStringValue() != "4" {
		t.Errorf("metadata %v", &got)
	}
}

// FuzzAnswers feeds any messages to the code that merges them. It must not panic,
// must keep to its limits, and what it makes of a request must be well-formed; the
// response's bytes add up while nothing is changed.
func FuzzAnswers(f *testing.F) {
	d := dialect{}
	join := func(ms ...*resp) (out []byte) {
		for _, m := range ms {
			b := encoded(f, m)
			out = append(append(out, byte(len(b)>>8), byte(len(b))), b...)
		}
		return out
	}
	f.Add(join(d.pickAnswer(3), answerBody(streamedBack([]byte("abc"), true))), "abcdef", uint8(3))
	f.Add(join(answerHeaders(nil), answerBody(replacement([]byte("new"))), &resp{DynamicMetadata: pickMetadata()}), "abcdef", uint8(2))
	f.Add(join(answerResponseBody(streamedBack([]byte("ab"), false)), answerResponseBody(streamedBack([]byte("Xdef"), true))), "abcdef", uint8(1))
	f.Add(join(answerResponseBody(&extprocv3.CommonResponse{}), answerResponseBody(replacement(nil))), "abcdef", uint8(4))
	f.Add(join(immediate(429, "no")), "", uint8(0))
	f.Add([]byte{0, 3, 0x7a, 1, 0}, "x", uint8(9))
	f.Fuzz(func(t *testing.T, data []byte, body string, size uint8) {
		if len(body) > 1<<12 {
			return
		}
		const limit = 1 << 13
		var answers []answer
		for len(data) >= 2 && len(answers) < 64 {
			n := min(int(data[0])<<8|int(data[1]), len(data)-2)
			a, err := decode(data[2 : 2+n])
			data = data[2+n:]
			if err != nil {
				break
			}
			answers = append(answers, a)
		}
		v := &verdict{limit: limit}
		r := &reply{limit: limit}
		var emitted, sent []byte
		i, changed := 0, false
		for rest := []byte(body); ; {
			n := min(len(rest), int(size)+1)
			part := rest[:n]
			rest = rest[n:]
			v.passed(mem.BufferSlice{mem.SliceBuffer(part)}, len(rest) == 0)
			r.passed(mem.BufferSlice{mem.SliceBuffer(part)}, len(rest) == 0)
			sent = append(sent, part...)
			if i < len(answers) {
				a := &answers[i]
				i++
				if v.answer(a) != nil || r.body(a) != nil {
					break
				}
				changed = changed || a.kind == bodyReplaced || a.end || r.differs
			}
			if out := r.take(); r.answered() || !r.differs {
				emitted = append(emitted, out.Materialize()...)
			}
			if len(rest) == 0 {
				break
			}
		}
		for ; i < len(answers); i++ {
			if v.answer(&answers[i]) != nil {
				break
			}
		}
		emitted = append(emitted, r.rest().Materialize()...)
		if !changed && !bytes.Equal(emitted, sent) {
			t.Errorf("%q became %q", sent, emitted)
		}
		v.complete()
		v.settled()
		c, err := v.change()
		if err != nil {
			return
		}
		if c.Body.Len() > limit || c.Immediate == nil && c.Destinations == "" {
			t.Errorf("%d bytes, destinations %q", c.Body.Len(), c.Destinations)
		}
		wellFormed(t, c.Metadata, &structpb.Struct{})
		wellFormed(t, c.Immediate, &extprocv3.ImmediateResponse{})
		for _, o := range c.SetHeaders {
			wellFormed(t, o, &corev3.HeaderValueOption{})
		}
	})
}

func wellFormed(t *testing.T, b []byte, m proto.Message) {
	t.Helper()
	if err := proto.Unmarshal(b, m); err != nil {
		t.Errorf("%T: %v", m, err)
	}
}
