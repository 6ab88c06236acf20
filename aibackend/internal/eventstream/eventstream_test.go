package eventstream

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	aws "github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
)

func encode(tb testing.TB, kind, name, payload string) []byte {
	var h aws.Headers
	h.Set(":message-type", aws.StringValue(kind))
	h.Set("an-int", aws.Int64Value(5))
	h.Set("a-bool", aws.BoolValue(true))
	h.Set("bytes", aws.BytesValue([]byte{1, 2}))
	switch kind {
	case "exception":
		h.Set(":exception-type", aws.StringValue(name))
	case "error":
		h.Set(":error-code", aws.StringValue(name))
		h.Set(":error-message", aws.StringValue(payload))
	default:
		h.Set(":event-type", aws.StringValue(name))
	}
	var b bytes.Buffer
	if err := aws.NewEncoder().Encode(&b, aws.Message{Headers: h, Payload: []byte(payload)}); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func read(stream []byte, cut int) (out string, err error) {
	var r Reader
	take := func(f Frame) error {
		out += fmt.Sprintf("%s %s %s %s\n", f.Kind, f.Name, f.Message, f.Payload)
		return nil
	}
	cut = min(max(cut, 0), len(stream))
	if err := r.Write(bytes.Clone(stream[:cut]), take); err != nil {
		return out, err
	}
	if err := r.Write(bytes.Clone(stream[cut:]), take); err != nil {
		return out, err
	}
	return out, r.Close()
}

func TestReader(t *testing.T) {
	stream := append(encode(t, "event", "messageStart", `{"role":"assistant"}`), encode(t, "event", "messageStop", `{}`)...)
	stream = append(stream, encode(t, "exception", "throttlingException", `{"message":"slow"}`)...)
	stream = append(stream, encode(t, "error", "500", `broken`)...)
	want := "event messageStart  {\"role\":\"assistant\"}\nevent messageStop  {}\n" +
		"exception throttlingException  {\"message\":\"slow\"}\nerror 500 broken broken\n"
	for cut := 0; cut <= len(stream); cut++ {
		got, err := read(stream, cut)
		if err != nil || got != want {
			t.Fatalf("cut at %d: %q, %v", cut, got, err)
		}
	}
	for end := 1; end < len(stream); end++ {
		if _, err := read(stream[:end], 0); err != nil && !errors.Is(err, ErrTruncated) {
			t.Fatalf("ended at %d: %v", end, err)
		}
	}
}

// TestCorruption flips every byte: never is a wrong frame given, nor is one waited
// for.
func TestCorruption(t *testing.T) {
	frame := encode(t, "event", "messageStart", `{"role":"assistant"}`)
	for i := range frame {
		bad := bytes.Clone(frame)
		bad[i] ^= 0x41
		got, err := read(bad, 0)
		if err == nil || got != "" {
			t.Errorf("byte %d: got %q, %v", i, got, err)
		}
		if errors.Is(err, ErrTruncated) {
			t.Errorf("byte %d: the reader waits for more", i)
		}
	}
}

// FuzzReader cuts any stream in two, and compares with AWS's own decoder.
func FuzzReader(f *testing.F) {
	f.Add(encode(f, "event", "a", "{}"), 5)
	f.Add(append(encode(f, "exception", "b", "{}"), encode(f, "error", "c", "")...), 40)
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		got, err := read(stream, cut)
		whole, err2 := read(stream, 0)
		if got != whole || (err == nil) != (err2 == nil) {
			t.Fatalf("cut at %d: %q, %v and %q, %v", cut, got, err, whole, err2)
		}
		if err != nil {
			return
		}
		d, in := aws.NewDecoder(), bytes.NewReader(stream)
		for in.Len() > 0 {
			if _, err := d.Decode(in, nil); err != nil {
				t.Fatalf("AWS's decoder says %v", err)
			}
		}
	})
}
