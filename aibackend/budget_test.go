package aibackend_test

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/aibackend"
)

const openAIAnswer = `{"id":"1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}`

// TestBudget: many bombs at once hold no more than their budget and what is free for each;
// small answers pass meanwhile, and large ones again as soon as there is room.
func TestBudget(t *testing.T) {
	const bombs, budget, free = 24, 8 << 20, 1 << 20
	var small bytes.Buffer
	z := gzip.NewWriter(&small)
	chunk := bytes.Repeat([]byte(" "), 1<<20)
	for range 16 {
		_, _ = z.Write(chunk)
	}
	_ = z.Flush() // and no end: what is read stays
	b := aibackend.Backend{Schema: aibackend.OpenAI, Budget: aibackend.NewBudget(budget)}
	begin := func(gzipped bool) aibackend.Exchange {
		x := exchange(t, "/v1/messages", hello, b, http.Header{})
		h := http.Header{"Content-Type": {"application/json"}}
		if gzipped {
			h.Set("Content-Encoding", "gzip")
		}
		x.Response(200, h)
		return x
	}
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	var all []aibackend.Exchange
	refused := 0
	for range bombs {
		x := begin(true)
		all = append(all, x)
		_, err := x.Body(small.Bytes(), false)
		if err != nil {
			if refused++; err.Status != 502 || err.Cause.Code != "answer_too_large_now" || !strings.Contains(string(err.Body), `"type":"error"`) {
				t.Errorf("%+v %s", err, err.Body)
			}
			if out, again := x.Body(small.Bytes(), true); len(out) > 0 || again != nil {
				t.Errorf("more comes: %d, %v", len(out), again)
			}
		}
	}
	if refused != bombs { // 15 MiB each beyond what is free, of 8
		t.Errorf("%d of %d were refused", refused, bombs)
	}
	// Those that fit hold what there is, and others are refused.
	fits := begin(false)
	for range 1 + budget>>20 {
		if _, err := fits.Body(chunk, false); err != nil {
			t.Fatal(err)
		}
	}
	late := begin(false)
	if _, err := late.Body(append(chunk, ' '), false); err == nil {
		t.Error("there is room without end")
	}
	if held := heap() - before; held > 2*budget+bombs*free {
		t.Errorf("%d MiB are held", held>>20)
	}
	ordinary := begin(false)
	if out, err := ordinary.Body([]byte(openAIAnswer), true); err != nil || !strings.Contains(string(out), `"hi"`) {
		t.Errorf("an ordinary answer: %s, %v", out, err)
	}
	all = append(all, late, ordinary, fits)
	for _, x := range all {
		x.Close()
		x.Close() // which gives nothing back again
	}
	// All is given back: as much fits as in the beginning, and no more.
	again := begin(false)
	defer again.Close()
	n := 0
	for ; n < 100; n++ {
		if _, err := again.Body(chunk, false); err != nil {
			break
		}
	}
	if n != 1+budget>>20 {
		t.Errorf("%d MiB fit, want %d", n, 1+budget>>20)
	}
	// A whole large answer is translated, and its room is there for the next.
	for range 3 * budget >> 20 {
		x := begin(false)
		if _, err := x.Body(chunk, false); err != nil {
			t.Fatal(err)
		}
		if out, err := x.Body([]byte(openAIAnswer), true); err != nil || !strings.Contains(string(out), `"hi"`) {
			t.Errorf("%s, %v", out, err)
		}
		x.Close()
	}
}
