package sse

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func read(stream []byte, cuts ...int) (events []string, raw string, err error) {
	var r Reader
	take := func(e Event) error {
		if len(e.Name) > 0 || e.Data != nil {
			events = append(events, fmt.Sprintf("%s|%s", e.Name, e.Data))
		}
		raw += string(e.Raw)
		return nil
	}
	last := 0
	for _, c := range append(cuts, len(stream)) {
		if c < last || c > len(stream) {
			continue
		}
		if err = r.Write(bytes.Clone(stream[last:c]), take); err != nil {
			return events, raw, err
		}
		last = c
	}
	return events, raw, r.Close(take)
}

func TestReader(t *testing.T) {
	for _, tc := range []struct {
		stream string
		want   []string
	}{
		{"data: a\n\ndata: b\n\n", []string{"|a", "|b"}},
		{"event: x\ndata: a\ndata:b\ndata:\n\n", []string{"x|a\nb\n"}},
		{"data: a\r\n\r\ndata: b\r\n\r\n", []string{"|a", "|b"}},
		{"event: x\r\ndata: a\r\ndata: b\r\n\r\n", []string{"x|a\nb"}},
		{"data: a\r\rdata: b\r\r", []string{"|a", "|b"}},
		{"\ufeffdata: a\n\n", []string{"|a"}},
		{": comment\n\nid: 1\nretry: 5\ndata:  a\n\n", []string{"| a"}},
		{"data\n\n", []string{"|"}},
		{"data: [DONE]", []string{"|[DONE]"}},
		{"data: a\n", []string{"|a"}},
		{"datax: a\n\n\n\n\ndata: b\n\n", []string{"|b"}},
	} {
		for cut := 0; cut <= len(tc.stream); cut++ {
			got, raw, err := read([]byte(tc.stream), cut)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Fatalf("%q cut at %d: %s", tc.stream, cut, diff)
			}
			if raw != tc.stream {
				t.Fatalf("%q cut at %d: raw is %q", tc.stream, cut, raw)
			}
		}
	}
}

func TestLargeEventsEnd(t *testing.T) {
	var r Reader
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	var err error
	for i := 0; i < 10 && err == nil; i++ {
		err = r.Write(chunk, func(Event) error { return nil })
	}
	if err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("got %v", err)
	}
	if r.Write([]byte("\n\n"), nil) == nil {
		t.Error("the reader goes on")
	}
}

func TestErrorsStay(t *testing.T) {
	var r Reader
	bad := errors.New("bad")
	if err := r.Write([]byte("data: a\n\n"), func(Event) error { return bad }); !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
	if err := r.Close(nil); !errors.Is(err, bad) {
		t.Errorf("got %v", err)
	}
}

// FuzzReader cuts any stream in two: the events must be the same.
func FuzzReader(f *testing.F) {
	f.Add([]byte("event: x\r\ndata: a\r\ndata: b\r\n\r\ndata"), 7)
	f.Add([]byte("\r\n\r\r\n\n\ndata:\r"), 2)
	f.Fuzz(func(t *testing.T, stream []byte, cut int) {
		want, raw, err := read(stream)
		if err != nil {
			return
		}
		got, raw2, err := read(stream, cut)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" || raw != raw2 {
			t.Fatalf("%q cut at %d: %s", stream, cut, diff)
		}
	})
}

func TestReaderDoesNotAllocate(t *testing.T) {
	var r Reader
	event := []byte("event: x\ndata: {\"a\":1}\n\n")
	half := len(event) / 2
	n := 0
	take := func(Event) error { n++; return nil }
	if a := testing.AllocsPerRun(100, func() {
		_ = r.Write(event, take)
		_ = r.Write(event[:half], take)
		_ = r.Write(event[half:], take)
	}); a > 0 {
		t.Errorf("%v allocations", a)
	}
	if n == 0 {
		t.Error("no events")
	}
}
