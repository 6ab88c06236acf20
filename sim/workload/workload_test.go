package workload

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func source() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func TestReadMooncakeRefusesBadLines(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", "the trace is empty"},
		{`{"timestamp":0,"input_length":1,"output_length":1,"hash_ids":[0]}` + "\n{", "t:2: unexpected end of JSON input"},
		{`{"input_length":1}`, "t:1: timestamp: must be milliseconds"},
		{`{"timestamp":0,"input_length":0}`, "t:1: input_length: must be 1 to"},
		{`{"timestamp":0,"input_length":5,"output_length":-1}`, "t:1: output_length: must be 0 to"},
		{`{"timestamp":5,"input_length":5}` + "\n" + `{"timestamp":4,"input_length":5}`, "t:2: timestamp: must not be smaller"},
		{`{"timestamp":0,"input_length":5,"hash_ids":[-1]}`, "t:1: json: cannot unmarshal"},
		{`{"timestamp":0,"input_length":1,"adapter":"` + strings.Repeat("x", maxAdapterName+1) + `"}`, "t:1: adapter: the name is longer"},
		{strings.Repeat("x", maxTraceLine+1), "a line is longer than"},
	} {
		_, err := ReadMooncake("t", strings.NewReader(tc.in), source())
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%.60q: error %v, want %q", tc.in, err, tc.want)
		}
	}
}

func TestReadMooncakeSpreadsABucketAndLinksSessions(t *testing.T) {
	in := `{"timestamp":0,"input_length":1100,"output_length":10,"hash_ids":[0,1,2]}
{"timestamp":0,"input_length":2100,"output_length":10,"hash_ids":[0,7,8,9,10]}
{"timestamp":60000,"input_length":2048,"output_length":10,"hash_ids":[0,1,3,4]}
`
	w, err := ReadMooncake("t", strings.NewReader(in), source())
	if err != nil {
		t.Fatal(err)
	}
	if a, b := w.Requests[0].At, w.Requests[1].At; a == b || b >= 3*time.Second {
		t.Errorf("bucket arrivals %v and %v: want different ones within three seconds", a, b)
	}
	last := w.Requests[2]
	if p := last.Parent; p < 0 || w.Requests[p].Input != 1100 {
		t.Errorf("parent is %d, want the request of 1100 tokens whose full blocks it contains", p)
	}
	if last.Think <= 0 || last.Think > 61*time.Second {
		t.Errorf("think time %v", last.Think)
	}
}

func TestGeneratedWorkloads(t *testing.T) {
	for _, name := range Names() {
		w, err := Generate(name, 500, source())
		if err != nil {
			t.Fatal(err)
		}
		again, _ := Generate(name, 500, source())
		if len(w.Requests) < 500 {
			t.Errorf("%s: only %d requests", name, len(w.Requests))
		}
		for i, r := range w.Requests {
			switch {
			case i > 0 && r.At < w.Requests[i-1].At:
				t.Fatalf("%s: request %d arrives before its predecessor", name, i)
			case r.Parent >= i:
				t.Fatalf("%s: request %d has parent %d", name, i, r.Parent)
			case len(r.Hashes) != (r.Input+mooncakeBlock-1)/mooncakeBlock:
				t.Fatalf("%s: request %d has %d hashes for %d tokens", name, i, len(r.Hashes), r.Input)
			case r.At != again.Requests[i].At || r.Input != again.Requests[i].Input:
				t.Fatalf("%s: the same seed gave another workload", name)
			}
			if p := r.Parent; p >= 0 {
				full := w.Requests[p].Input / mooncakeBlock
				for k := range full {
					if r.Hashes[k] != w.Requests[p].Hashes[k] {
						t.Fatalf("%s: request %d does not contain its parent's block %d", name, i, k)
					}
				}
			}
		}
	}
	if _, err := Generate("nope", 1, source()); err == nil || !strings.Contains(err.Error(), "agents") {
		t.Errorf("unknown workload: error %v should list the known ones", err)
	}
}

func TestWriteMooncakeRoundTrip(t *testing.T) {
	for _, name := range []string{"retrieval", "adapters"} {
		w, err := Generate(name, 50, source())
		if err != nil {
			t.Fatal(err)
		}
		w = w.AtSpeed(0.01) // no two in a millisecond
		var buf bytes.Buffer
		if err := WriteMooncake(&buf, w); err != nil {
			t.Fatal(err)
		}
		if named := strings.Contains(buf.String(), "adapter"); named != (name == "adapters") {
			t.Errorf("%s: an adapter is named: %v", name, named)
		}
		back, err := ReadMooncake("t", &buf, source())
		if err != nil {
			t.Fatal(err)
		}
		if len(back.Requests) != len(w.Requests) {
			t.Fatalf("%d requests, want %d", len(back.Requests), len(w.Requests))
		}
		for i, r := range back.Requests {
			if r.Input != w.Requests[i].Input || len(r.Hashes) != len(w.Requests[i].Hashes) || r.Adapter != w.Requests[i].Adapter {
				t.Errorf("%s: request %d changed", name, i)
			}
		}
	}
}

// TestAdaptersWorkload: some adapters are asked for much more than others, and none
// shares a prompt with another.
func TestAdaptersWorkload(t *testing.T) {
	w, err := Generate("adapters", 6000, source())
	if err != nil {
		t.Fatal(err)
	}
	requests, of := map[string]int{}, map[uint64]string{}
	for _, r := range w.Requests {
		requests[r.Adapter]++
		for _, h := range r.Hashes {
			if a, ok := of[h]; ok && a != r.Adapter {
				t.Fatalf("%q and %q share a block", a, r.Adapter)
			}
			of[h] = r.Adapter
		}
	}
	if n := len(requests); n != 31 {
		t.Errorf("%d models, want 31", n)
	}
	base, first, last := requests[""], requests["adapter-0"], requests["adapter-29"]
	if base < 1600 || base > 2000 || first < 800 || last > 150 || last == 0 {
		t.Errorf("%d for the base model, %d for the first adapter, %d for the last", base, first, last)
	}
}

func FuzzReadMooncake(f *testing.F) {
	f.Add(`{"timestamp":0,"input_length":1100,"output_length":10,"hash_ids":[0,1,2]}`)
	f.Add(`{"timestamp":0,"input_length":1100,"adapter":"sql"}`)
	f.Add("{}\n\n[")
	f.Fuzz(func(t *testing.T, in string) {
		w, err := ReadMooncake("f", strings.NewReader(in), source())
		if err == nil && len(w.Requests) == 0 {
			t.Error("no error and no requests")
		}
	})
}
