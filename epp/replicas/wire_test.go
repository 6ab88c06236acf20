package replicas

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/fairway-ai/fairway/scheduler"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

func example() (*frame, []byte) {
	blocks := chain(5, 9)
	blocks[2].Tokens, blocks[4].Tokens = 70, 0
	f := &frame{
		hello:    &hello{1, "fairway-0", 77},
		sequence: 300, full: true,
		work: []work{
			{endpoint: 0xfedcba9876543210, waited: 1500 * time.Millisecond, Work: scheduler.Work{
				Requests: 3, Waiting: 2, Dispatched: 1, Backlog: 5000, Prefilling: 400, Context: 60000, Output: 512,
				Sent: 1 << 40, Prefilled: 1 << 39, Busy: 90 * time.Microsecond, Prompts: 1 << 33,
				Next: scheduler.Next{Held: true, Priority: -3, Uncached: 4600},
			}},
			{endpoint: 1},
		},
		prompts: []prompt{{7, blocks, false}, {8, []prefix.Block{}, false}, {7, chain(3, 9), true}},
	}
	out := appendHello(nil, f.hello)
	out = append(out, appendHeader(nil, f.sequence, f.full)...)
	for i := range f.work {
		out = appendWork(out, &f.work[i])
	}
	for _, p := range f.prompts {
		out = appendPrompt(out, &p)
	}
	return f, out
}

func TestFrameComesBack(t *testing.T) {
	want, out := example()
	got, err := decodeFrame(out)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// Fields of later versions are ignored.
	out = protowire.AppendTag(out, 99, protowire.BytesType)
	out = protowire.AppendString(out, "news")
	out = protowire.AppendTag(out, 98, protowire.Fixed32Type)
	out = protowire.AppendFixed32(out, 1)
	if got, err := decodeFrame(out); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("with unknown fields: %+v, %v", got, err)
	}
	a, err := decodeAnswer(appendAnswer(nil, &answer{want.hello, 12}))
	if err != nil || a.acknowledged != 12 || *a.hello != *want.hello {
		t.Errorf("answer %+v, %v", a, err)
	}
}

func TestLongPromptIsCut(t *testing.T) {
	f, err := decodeFrame(appendPrompt(nil, &prompt{1, chain(maxBlocks+10, 1), false}))
	if err != nil || len(f.prompts[0].blocks) != maxBlocks {
		t.Errorf("%v", err)
	}
}

func TestHostileFrames(t *testing.T) {
	bytes := func(n protowire.Number, m []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), m)
	}
	prompt := func(hashes int, runs ...uint64) []byte {
		var packed []byte
		for _, r := range runs {
			packed = protowire.AppendVarint(packed, r)
		}
		return bytes(framePrompt, append(bytes(2, make([]byte, hashes)), bytes(3, packed)...))
	}
	_, whole := example()
	for name, m := range map[string][]byte{
		"cut":               whole[:len(whole)-1],
		"no hello id":       bytes(frameHello, nil),
		"long id":           bytes(frameHello, bytes(2, make([]byte, maxID+1))),
		"too many blocks":   prompt(8*(maxBlocks+1), 1, maxBlocks+1),
		"odd hashes":        prompt(9, 1, 1),
		"runs too short":    prompt(16, 1, 1),
		"run too long":      prompt(16, 1, 3),
		"empty run":         prompt(16, 1, 0, 1, 2),
		"tokens too many":   prompt(8, math.MaxInt32+1, 1),
		"enormous run":      prompt(8, 1, math.MaxUint64),
		"group never ended": {0x0b},
	} {
		if _, err := decodeFrame(m); !errors.Is(err, errWire) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	f, err := decodeFrame(bytes(frameWork, appendVarint(appendVarint(nil, 2, math.MaxUint64), 5, math.MaxUint64)))
	if err != nil || f.work[0].Requests != math.MaxInt32 || f.work[0].Backlog != math.MaxInt64 {
		t.Errorf("large counts: %+v, %v", f, err)
	}
}

// TestFormerFrames: frames of replicas that do not tell what they hold are read as ever.
func TestFormerFrames(t *testing.T) {
	former := "\",\t\x10\x32\x54\x76\x98\xba\xdc\xfe\x10\x03\x18\x02 \x01(\x88'0\x90\x038\xe0\xd4\x03@\x80\x80\x80\x80\x80 H\x80\x80\x80\x80\x80\x10PZX\x80\x04"
	f, err := decodeFrame([]byte(former))
	if err != nil {
		t.Fatal(err)
	}
	want := scheduler.Work{
		Requests: 3, Waiting: 2, Dispatched: 1, Backlog: 5000, Prefilling: 400, Context: 60000, Output: 512,
		Sent: 1 << 40, Prefilled: 1 << 39, Busy: 90 * time.Microsecond,
	}
	if got := f.work[0].heard(time.Now()); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := appendWork(nil, &work{endpoint: 0xfedcba9876543210, Work: want}); string(got) != former {
		t.Errorf("a replica that holds nothing tells %q, of which earlier ones know %q", got, former)
	}
}

// TestHeldSince: how long a request has been held is told, and not since when: clocks
// differ.
func TestHeldSince(t *testing.T) {
	here, there := time.Unix(5000, 0), time.Unix(900, 0)
	held := scheduler.Work{Requests: 1, Waiting: 1, Next: scheduler.Next{Held: true, Uncached: 7, Since: here.Add(-3 * time.Second).UnixNano()}}
	f, err := decodeFrame(appendWork(nil, workAt(here, 1, held)))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.work[0].heard(there).Next; got != (scheduler.Next{Held: true, Uncached: 7, Since: there.Add(-3 * time.Second).UnixNano()}) {
		t.Errorf("%+v", got)
	}
	f.work[0].waited = math.MaxInt64
	if got := f.work[0].heard(there).Next.Since; got != there.Add(-maxWaited).UnixNano() {
		t.Errorf("held since %d", got)
	}
}

func FuzzDecodeFrame(f *testing.F) {
	_, whole := example()
	f.Add(whole)
	f.Add(whole[:40])
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := decodeAnswer(data); err == nil && len(data) > 1<<20 {
			t.Skip()
		}
		got, err := decodeFrame(data)
		if err != nil {
			return
		}
		for i := range got.work {
			var l scheduler.Load
			var s scheduler.Share
			s.Set(time.Unix(1, 0), &l, got.work[i].heard(time.Unix(1, 0)))
			if again, err := decodeFrame(appendWork(nil, &got.work[i])); err != nil || !reflect.DeepEqual(again.work, got.work[i:i+1]) {
				t.Fatalf("%+v comes back as %+v, %v", got.work[i], again, err)
			}
			_ = l.Saturation()
			if v := l.View(); v.Requests < 0 || v.Waiting < 0 || v.Backlog < 0 || v.Prefilling < 0 || v.Context < 0 {
				t.Fatalf("%+v reads as %+v", got.work[i], v)
			}
			s.End(time.Unix(1, 0))
			if !l.Idle() {
				t.Fatalf("%+v leaves something", got.work[i])
			}
		}
		for _, p := range got.prompts {
			if len(p.blocks) > maxBlocks {
				t.Fatalf("%d blocks", len(p.blocks))
			}
			again, err := decodeFrame(appendPrompt(nil, &p))
			if err != nil || !reflect.DeepEqual(again.prompts[0], p) {
				t.Fatalf("%+v comes back as %+v, %v", p, again, err)
			}
		}
	})
}

// TestFramesInAnyOrder gives a replica frames of which some are lost, some come twice,
// and all in any order: the newest totals of each endpoint count.
func TestFramesInAnyOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		const endpoints = 4
		p := newFakePicker(endpoints)
		r, err := New(Options{ID: "b", Peers: Fixed{}, Listen: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		r.picker = p
		r.directory.refresh(p)
		keys := make([]uint64, endpoints)
		for i := range keys {
			keys[i] = r.directory.byLoad[p.load(i)].key
		}
		r.joinLocked(time.Now(), &hello{1, "a", 1}, 9)
		var frames []*frame
		var truth [endpoints]scheduler.Work
		for seq := uint64(1); seq <= 30; seq++ {
			f := &frame{sequence: seq, full: rng.IntN(6) == 0 || seq == 30}
			for i := range truth {
				if rng.IntN(2) == 0 {
					truth[i] = scheduler.Work{}
					if n := rng.IntN(4); n > 0 {
						truth[i] = scheduler.Work{Requests: int32(n), Waiting: int32(n), Backlog: int64(rng.IntN(99)), Sent: int64(seq)}
					}
					if !f.full {
						f.work = append(f.work, work{endpoint: keys[i], Work: truth[i]})
					}
				}
				if f.full && truth[i] != (scheduler.Work{}) {
					f.work = append(f.work, work{endpoint: keys[i], Work: truth[i]})
				}
			}
			f.work = append(f.work, work{endpoint: 12345, Work: truth[0]}) // of an endpoint that is not known
			for range rng.IntN(3) {
				frames = append(frames, f)
			}
			if seq == 30 {
				frames = append(frames, f)
			}
		}
		rng.Shuffle(len(frames), reflect.Swapper(frames))
		for _, f := range frames {
			if !r.apply("a", 9, f) {
				t.Fatal("the stream does not count")
			}
		}
		for i := range truth {
			v := p.load(i).View()
			if v.Requests != truth[i].Requests || v.Backlog != truth[i].Backlog {
				t.Fatalf("endpoint %d has %+v, want %+v", i, v, truth[i])
			}
		}
		if r.apply("a", 8, frames[0]) || r.apply("c", 9, frames[0]) {
			t.Fatal("a stream counts that does not")
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
