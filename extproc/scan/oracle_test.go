package scan

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/fairway-ai/fairway/scheduler/prefix"
)

// The oracle does what the package comment says the plain way: with
// encoding/json, and with the whole stream in memory.

// unit is a byte of a prompt field's stream and what it counts for.
type unit struct {
	b             byte
	text, id, img bool // id, img: on the first byte of one
}

type oracleField struct{ units []unit }

func (f *oracleField) tag(c byte)     { f.units = append(f.units, unit{b: c}) }
func (f *oracleField) special(u unit) { f.units = append(f.units, u) }
func (f *oracleField) text(t byte, s string) {
	f.tag(t)
	for i := range len(s) {
		f.units = append(f.units, unit{b: s[i], text: true})
	}
}

// oracleValue streams the next value of d. top is true for the field's own
// value; under is the key of the object or array the value is in, key its own.
func (f *oracleField) value(d *json.Decoder, top, ids, media, inArray bool, under, key string, srcText bool) string {
	t, err := d.Token()
	if err != nil {
		panic(err)
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			f.tag(tagArray)
			for d.More() {
				f.value(d, false, ids, media, true, key, "", false)
			}
		} else {
			f.tag(tagObject)
			isText := false
			for d.More() {
				k, err := d.Token()
				if err != nil {
					panic(err)
				}
				f.text(tagKey, k.(string))
				if s := f.value(d, false, ids, media, false, key, k.(string), isText); key == "source" && k == "type" && s == "text" {
					isText = true
				}
			}
		}
		end, err := d.Token()
		if err != nil {
			panic(err)
		}
		switch {
		case top:
		case end == json.Delim(']'):
			f.tag(tagEndArray)
		default:
			f.tag(tagEndObject)
		}
	case string:
		if media && oracleMedia(under, key, t, srcText) {
			f.media(t)
		} else {
			f.text(tagString, t)
		}
		return t
	case json.Number:
		if id, err := strconv.ParseFloat(t.String(), 64); ids && inArray && err == nil && len(t) < 16 && id >= 0 && id <= math.MaxUint32 && id == math.Trunc(id) {
			f.special(unit{b: tagID, id: true})
			for _, c := range binary.LittleEndian.AppendUint32(nil, uint32(id)) {
				f.tag(c)
			}
		} else {
			f.text(tagNumber, t.String())
		}
	case bool:
		if !top {
			f.text(tagLiteral, strconv.FormatBool(t))
		}
	case nil:
		if !top {
			f.text(tagLiteral, "null")
		}
	}
	return ""
}

func (f *oracleField) media(s string) {
	h := uint64(0)
	for len(s) >= 1024 {
		h = mix(h, xxhash.Sum64String(s[:1024]))
		s = s[1024:]
	}
	f.special(unit{b: tagMedia, img: true})
	for _, c := range binary.LittleEndian.AppendUint64(nil, mix(h, xxhash.Sum64String(s))) {
		f.tag(c)
	}
}

func oracleMedia(under, key, s string, srcText bool) bool {
	isURL := strings.HasPrefix(s, "data:") || strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://")
	urlKey := func(k string) bool {
		return k == "image_url" || k == "audio_url" || k == "video_url" || k == "file_url"
	}
	switch {
	case s == "":
		return false
	case key == "file_data", key == "data" && under == "input_audio", key == "data" && under == "source" && !srcText:
		return true
	case urlKey(key), key == "url" && (urlKey(under) || under == "source" || under == "file"):
		return isURL
	}
	return false
}

func (f *oracleField) count() (text int64, images int) {
	for _, u := range f.units {
		if u.text {
			text++
		}
		if u.id {
			text += 4
		}
		if u.img {
			images++
		}
	}
	return text, images
}

func (f *oracleField) blocks(o Options, partial bool) []prefix.Block {
	var out []prefix.Block
	var text, told, pos int64
	for rest := f.units; len(rest) > 0; {
		n := o.blockSize(pos)
		if n > len(rest) {
			if !partial {
				break
			}
			n = len(rest)
		}
		var b []byte
		images := 0
		for _, u := range rest[:n] {
			b = append(b, u.b)
		}
		t, images := (&oracleField{rest[:n]}).count()
		text += t
		out = append(out, prefix.Block{Hash: xxhash.Sum64(b), Tokens: int32(text/4 - told + 512*int64(images))})
		told = text / 4
		pos += int64(n)
		rest = rest[n:]
	}
	return out
}

// depthOf is the deepest nesting of a valid document.
func depthOf(body []byte) int {
	d := json.NewDecoder(bytes.NewReader(body))
	depth, deepest := 0, 0
	for {
		t, err := d.Token()
		if err != nil {
			return deepest
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

var oraclePrompts = map[API][3]string{
	ChatCompletions: {"tools", "", "messages"},
	Completions:     {"", "", "prompt"},
	Embeddings:      {"", "", "input"},
	Responses:       {"tools", "instructions", "input"},
	Messages:        {"tools", "system", "messages"},
	Rerank:          {"", "query", "documents"},
	Generate:        {"", "text", "input_ids|token_ids"},
}

// oracle is what a scan of body must give; field is the field at fault. The
// model's offsets are left out.
func oracle(api API, body []byte, opts Options) (res Result, syntaxOK bool, field string) {
	opts = opts.withDefaults()
	var top map[string]json.RawMessage
	if !json.Valid(body) || json.Unmarshal(body, &top) != nil || top == nil || depthOf(body) > opts.MaxDepth {
		return res, false, ""
	}
	res.API = api
	str := func(name string, raw json.RawMessage) string {
		var v any
		if raw == nil {
			return ""
		}
		if err := json.Unmarshal(raw, &v); err != nil {
			panic(err)
		}
		s, ok := v.(string)
		if v != nil && !ok && field == "" || len(s) > opts.MaxField && field == "" {
			field = name
		}
		return s
	}
	res.Model = str("model", top["model"])
	if api.Anthropic() {
		var meta map[string]json.RawMessage
		if json.Unmarshal(top["metadata"], &meta) == nil {
			res.User = str("metadata.user_id", meta["user_id"])
		}
	} else {
		res.User = str("user", top["user"])
	}
	res.CacheSalt = str("cache_salt", top["cache_salt"])
	res.Stream = string(top["stream"]) == "true"
	num := func(name string) int64 {
		var n json.Number
		if len(top[name]) == 0 || top[name][0] == '"' || json.Unmarshal(top[name], &n) != nil || n == "" || len(n) > 63 {
			return 0
		}
		f, _ := strconv.ParseFloat(n.String(), 64)
		if f < 0 || f != math.Trunc(f) {
			return 0
		}
		return int64(min(f, math.MaxInt32))
	}
	switch api {
	case ChatCompletions:
		if res.MaxTokens = num("max_completion_tokens"); res.MaxTokens == 0 {
			res.MaxTokens = num("max_tokens")
		}
	case Completions, Messages:
		res.MaxTokens = num("max_tokens")
	case Responses:
		res.MaxTokens = num("max_output_tokens")
	case Generate:
		var sampling map[string]json.RawMessage
		json.Unmarshal(top["sampling_params"], &sampling)
		if name := lastKey(top["sampling_params"], "max_new_tokens|max_tokens"); name != "" {
			top[name] = sampling[name]
			res.MaxTokens = num(name)
		}
	}
	h := mix(xxhash.Sum64String(res.Model), xxhash.Sum64String(res.CacheSalt))
	for i, name := range oraclePrompts[api] {
		name = lastKey(body, name)
		raw := top[name]
		if name == "" || raw == nil {
			continue
		}
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		var f oracleField
		f.value(d, true, (api == Completions || api == Embeddings || api == Generate) && i == 2, i != 0, false, "", "", false)
		if _, err := d.Token(); err != io.EOF {
			panic("more than one value")
		}
		text, images := f.count()
		if text == 0 && images == 0 {
			continue
		}
		res.PromptBytes += text
		res.Images += images
		h = mix(h, uint64(i))
		for _, b := range f.blocks(opts, i < 2) {
			if len(res.Blocks) < opts.MaxBlocks {
				h = mix(h, b.Hash)
				res.Blocks = append(res.Blocks, prefix.Block{Hash: h, Tokens: b.Tokens})
			}
		}
	}
	return res, true, field
}

// lastKey is the one of the names, with | between them, that an object has last.
func lastKey(object []byte, names string) (last string) {
	d := json.NewDecoder(bytes.NewReader(object))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return ""
	}
	for d.More() {
		key, err := d.Token()
		var skip json.RawMessage
		if err != nil || d.Decode(&skip) != nil {
			return last
		}
		if slices.Contains(strings.Split(names, "|"), key.(string)) {
			last = key.(string)
		}
	}
	return last
}

// scanAll scans body in chunks, cut ascending positions.
func scanAll(s *Scanner, api API, body []byte, cuts ...int) (*Result, error) {
	s.Reset(api)
	last := 0
	for _, c := range append(cuts, len(body)) {
		// The copy is spoilt at once, to catch a scanner that keeps a reference.
		chunk := bytes.Clone(body[last:c])
		err := s.Write(chunk)
		for i := range chunk {
			chunk[i] = 0xaa
		}
		if err != nil {
			break
		}
		last = c
	}
	return s.Finish()
}

func sameResult(t *testing.T, got, want *Result, blocks bool) {
	t.Helper()
	if got.Model != want.Model || got.Stream != want.Stream || got.MaxTokens != want.MaxTokens ||
		got.User != want.User || got.CacheSalt != want.CacheSalt || got.API != want.API {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	if !blocks {
		return
	}
	if got.PromptBytes != want.PromptBytes || got.Images != want.Images || len(got.Blocks) != len(want.Blocks) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
	for i := range got.Blocks {
		if got.Blocks[i] != want.Blocks[i] {
			t.Fatalf("block %d: got %+v, want %+v", i, got.Blocks[i], want.Blocks[i])
		}
	}
}
