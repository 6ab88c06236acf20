package scrape

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxAdapters bounds the LoRA adapters taken from one page.
const maxAdapters = 4096

// ErrNoSeries says that a page has none of the series that the engine should
// have: it is another engine's, or no metrics page at all.
var ErrNoSeries = errors.New("page has none of the engine's series")

// Values is what a page says. A number is zero where the page says nothing.
type Values struct {
	// Waiting and Running count requests in the engine's queue and batch, over all
	// its data-parallel ranks.
	Waiting, Running int32
	// KVUsage is the used share of the KV cache, 0 to 1: the mean of the ranks.
	KVUsage float32
	// BlockTokens is the size of a KV block in tokens, Blocks the number of blocks
	// of all ranks.
	BlockTokens, Blocks int32
	// MaxLoRA is the number of adapters that fit at once. ActiveLoRA and
	// WaitingLoRA name those with running and queued requests.
	MaxLoRA                 int32
	ActiveLoRA, WaitingLoRA []string
	// Custom are the custom metrics, NaN for those that are not on the page. Several
	// series of one name are added up.
	Custom []float64
}

// Read scans a page for the engine's series. It returns [ErrNoSeries] when there
// is none, [ErrPageTooLarge], or the reader's error.
func Read(r io.Reader, e *Engine, maxPage int64) (Values, error) {
	return read(r, make([]byte, bufferSize), e, maxPage)
}

func read(r io.Reader, buf []byte, e *Engine, maxPage int64) (Values, error) {
	c := collector{engine: e, kvRank: math.MaxInt, loraAt: math.Inf(-1)}
	if e.custom > 0 {
		c.custom = make([]float64, e.custom)
		for i := range c.custom {
			c.custom[i] = math.NaN()
		}
	}
	if err := scan(r, buf, maxPage, &e.names, c.take); err != nil {
		return Values{}, err
	}
	if !c.found {
		return Values{}, ErrNoSeries
	}
	return c.values(), nil
}

// collector adds samples up.
type collector struct {
	engine           *Engine
	found            bool
	waiting, running int64
	kvSum            float64
	kvCount, kvRank  int
	blockTokens      int64
	blocks           int64
	lora             []byte // labels of the newest info series
	loraAt           float64
	custom           []float64
}

func (c *collector) take(s sample) {
	for i := range c.engine.rules[s.family] {
		r := &c.engine.rules[s.family][i]
		if r.selects != "" {
			v, ok := label(s.labels, r.selects)
			if !ok || string(unescape(v)) != r.want {
				continue
			}
		}
		c.found = true
		v := s.value
		if r.from != "" {
			text, _ := label(s.labels, r.from)
			var ok bool
			if v, ok = parseFloat(text); !ok {
				continue // "None", before the engine has sized its cache
			}
		}
		c.add(r, v, s.labels)
	}
}

func (c *collector) add(r *rule, v float64, labels []byte) {
	n, countable := count(v)
	switch r.field {
	case fieldKVUsage:
		if math.IsNaN(v) || r.rank > c.kvRank {
			return
		}
		if r.rank < c.kvRank {
			c.kvRank, c.kvSum, c.kvCount = r.rank, 0, 0
		}
		c.kvSum += max(0, min(v, 1))
		c.kvCount++
	case fieldLoRA:
		if v >= c.loraAt { // false for NaN
			c.loraAt = v
			c.lora = append(c.lora[:0], labels...)
		}
	case fieldCustom:
		switch have := &c.custom[r.at]; {
		case math.IsNaN(v):
		case math.IsNaN(*have):
			*have = v
		default:
			*have += v
		}
	case fieldWaiting:
		if countable {
			c.waiting += n
		}
	case fieldRunning:
		if countable {
			c.running += n
		}
	case fieldBlockTokens:
		if countable {
			c.blockTokens = max(c.blockTokens, n)
		}
	case fieldBlocks:
		if countable {
			c.blocks += n
		}
	}
}

func (c *collector) values() Values {
	v := Values{
		Waiting:     clamp(c.waiting),
		Running:     clamp(c.running),
		BlockTokens: clamp(c.blockTokens),
		Blocks:      clamp(c.blocks),
		Custom:      c.custom,
	}
	if c.kvCount > 0 {
		v.KVUsage = float32(c.kvSum / float64(c.kvCount))
	}
	if text, ok := label(c.lora, "max_lora"); ok {
		if n, err := strconv.ParseInt(string(text), 10, 32); err == nil && n > 0 {
			v.MaxLoRA = int32(n)
		}
	}
	v.ActiveLoRA = adapters(c.lora, "running_lora_adapters")
	v.WaitingLoRA = adapters(c.lora, "waiting_lora_adapters")
	return v
}

func clamp(n int64) int32 { return int32(min(n, math.MaxInt32)) }

// adapters splits a label's list of names. Names that are not text are left out.
func adapters(labels []byte, name string) []string {
	text, _ := label(labels, name)
	text = unescape(text)
	if len(bytes.TrimSpace(text)) == 0 || !utf8.Valid(text) {
		return nil
	}
	// One string for the whole list; the names are parts of it.
	var list []string
	for a := range strings.SplitSeq(string(text), ",") {
		if a = strings.TrimSpace(a); a != "" && len(list) < maxAdapters {
			list = append(list, a)
		}
	}
	return list
}
