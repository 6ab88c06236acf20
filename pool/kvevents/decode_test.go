package kvevents

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// record writes down what a sink is told.
type record struct{ strings.Builder }

func (r *record) Stored(ep string, e *Stored) {
	parent := "-"
	if e.HasParent {
		parent = fmt.Sprint(e.Parent)
	}
	tokens := fmt.Sprint(e.Tokens)
	if len(e.Tokens) > 8 {
		tokens = fmt.Sprintf("%d..%d (%d)", e.Tokens[0], e.Tokens[len(e.Tokens)-1], len(e.Tokens))
	}
	fmt.Fprintf(r, "stored %s hashes=%v parent=%s tokens=%s size=%d model=%q lora=%q/%d medium=%s rank=%d",
		ep, e.Hashes, parent, tokens, e.BlockSize, e.Model, e.LoRA, e.LoRAID, e.Medium, e.Rank)
	for i, block := range e.Extra {
		for _, x := range block {
			fmt.Fprintf(r, " extra%d=%s", i, x.Key)
			if x.HasOffset {
				fmt.Fprintf(r, "@%d", x.Offset)
			}
		}
	}
	r.WriteByte('\n')
}

func (r *record) Removed(ep string, e *Removed) {
	fmt.Fprintf(r, "removed %s hashes=%v medium=%s rank=%d\n", ep, e.Hashes, e.Medium, e.Rank)
}
func (r *record) Cleared(ep string) { fmt.Fprintf(r, "cleared %s\n", ep) }

func (r *record) Unread(ep string, n int) { fmt.Fprintf(r, "unread %s %d\n", ep, n) }
func (r *record) Lost(ep string)          { fmt.Fprintf(r, "lost %s\n", ep) }
func (r *record) Live(ep string)          { fmt.Fprintf(r, "live %s\n", ep) }

// TestEngines decodes batches that msgspec, which engines use, has encoded.
func TestEngines(t *testing.T) {
	files, err := filepath.Glob("testdata/events/*.msgpack")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			var r record
			var d decoder
			tl, err := d.decode(b, origin{endpoint: "ep", model: "m", rank: 9}, new(groups), &r)
			fmt.Fprintf(&r, "%+v %v\n", tl, err)
			golden := strings.TrimSuffix(f, ".msgpack") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(r.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if r.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", r.String(), want)
			}
		})
	}
}

// The map form says the same as the array form.
func TestBothFormsAgree(t *testing.T) {
	for _, name := range []string{"vllm", "vllm-sha256", "vllm-groups", "vllm-offload", "vllm-tiers"} {
		a, err := os.ReadFile("testdata/events/" + name + "-array.txt")
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile("testdata/events/" + name + "-map.txt")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s: the forms differ", name)
		}
	}
}

func TestBadMessages(t *testing.T) {
	for name, c := range map[string]struct {
		b       string
		invalid int // or -1 when the whole message is refused
	}{
		"nothing":               {"", -1},
		"a number":              {"\x07", -1},
		"no events":             {"\x91\x01", -1},
		"events are no list":    {"\x92\x01\x02", -1},
		"torn":                  {"\x92\x01\x93\x91\xa1a", -1},
		"a list longer than it": {"\x92\x01\xdd\xff\xff\xff\xff", -1},
		"a string longer":       {"\x92\x01\x91\x91\xdb\xff\xff\xff\xffx", -1},
		"an unused code":        {"\x92\x01\x91\xc1", -1},
		"a rank that is none":   {"\x93\x01\x90\xa1x", -1},
		"an event is a number":  {"\x92\x01\x91\x05", 1},
		"an empty event":        {"\x92\x01\x91\x90", 1},
		"stored without hashes": {"\x92\x01\x91\x91\xabBlockStored", 1},
		"removed without":       {"\x92\x01\x91\x91\xacBlockRemoved", 1},
		"a hash that is none":   {"\x92\x01\x91\x92\xacBlockRemoved\x91\xc3", 1},
		"an empty hash":         {"\x92\x01\x91\x92\xacBlockRemoved\x91\xa0", 1},
		"an unknown type":       {"\x92\x01\x91\x92\xa1X\x91\xc3", 0},
		"tokens without size":   {"\x92\x01\x91\x95\xabBlockStored\x91\x01\xc0\x91\x05\x00", 1},
		"a token that is none":  {"\x92\x01\x91\x95\xabBlockStored\x91\x01\xc0\x91\xff\x10", 1},
	} {
		var r record
		var d decoder
		tl, err := d.decode([]byte(c.b), origin{endpoint: "ep"}, new(groups), &r)
		if (err != nil) != (c.invalid < 0) || err == nil && tl.invalid != c.invalid {
			t.Errorf("%s: %+v %v", name, tl, err)
		}
		want := ""
		if c.invalid > 0 {
			want = fmt.Sprintf("unread ep %d\n", c.invalid)
		}
		if r.String() != want {
			t.Errorf("%s: told %q, want %q", name, r.String(), want)
		}
	}
}

func TestOneBadEventSpoilsNoOther(t *testing.T) {
	var r record
	var d decoder
	b := "\x92\x01\x93\x92\xacBlockRemoved\x91\x01\x91\xabBlockStored\x92\xacBlockRemoved\x91\x02"
	tl, err := d.decode([]byte(b), origin{endpoint: "ep"}, new(groups), &r)
	if err != nil || tl.removed != 2 || tl.invalid != 1 {
		t.Errorf("%+v %v", tl, err)
	}
}

// none is a sink that only looks at what it is given.
type none struct{ n int }

func (s *none) Stored(_ string, e *Stored) {
	s.n += len(e.Hashes) + len(e.Tokens)
	for _, b := range e.Extra {
		for _, x := range b {
			s.n += len(x.Key)
		}
	}
}
func (s *none) Removed(_ string, e *Removed) { s.n += len(e.Hashes) }
func (s *none) Cleared(string)               {}
func (s *none) Unread(string, int)           {}
func (s *none) Lost(string)                  {}
func (s *none) Live(string)                  {}

func FuzzDecode(f *testing.F) {
	files, _ := filepath.Glob("testdata/events/*.msgpack")
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var d decoder
		sink := new(none)
		var g groups
		if _, err := d.decode(b, origin{endpoint: "ep"}, &g, sink); err == nil && sink.n > 4*len(b) {
			t.Fatalf("%d values from %d bytes", sink.n, len(b))
		}
	})
}

// manyEvents is a batch as a busy engine sends it: n stored blocks of 16 tokens.
func manyEvents(n int) []byte {
	b := []byte{0x92, 1, 0xdc, byte(n >> 8), byte(n)}
	for i := range n {
		b = append(b, 0x98, 0xab)
		b = append(b, typeStored...)
		b = append(b, 0x91, 0xcf, 1, 2, 3, 4, 5, 6, byte(i>>8), byte(i), 0xcf, 1, 2, 3, 4, 5, 6, 7, 8, 0xdc, 0, 16)
		for k := range 16 {
			b = append(b, 0xcd, byte(0x10+k), byte(i))
		}
		b = append(b, 16, 0xc0, 0xa3, 'G', 'P', 'U', 0xab)
		b = append(b, "sql-adapter"...)
	}
	return b
}

func TestDecodeAllocatesNothing(t *testing.T) {
	b := manyEvents(100)
	var d decoder
	var g groups
	sink := new(none)
	n := testing.AllocsPerRun(20, func() {
		if tl, err := d.decode(b, origin{endpoint: "ep"}, &g, sink); err != nil || tl.stored != 100 {
			t.Fatalf("%+v %v", tl, err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations in a batch of 100 events", n)
	}
}

func BenchmarkDecode(b *testing.B) {
	msg := manyEvents(100)
	var d decoder
	var g groups
	sink := new(none)
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if _, err := d.decode(msg, origin{endpoint: "ep"}, &g, sink); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*100/b.Elapsed().Seconds(), "events/s")
}
