package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/fairway-ai/fairway/internal/testkit"
)

func pb(fields ...any) []byte { return testkit.Message(fields...) }

// packed are numbers as a repeated field has them.
func packed(ids ...int) (out []byte) {
	for _, id := range ids {
		out = protowire.AppendVarint(out, uint64(id))
	}
	return out
}

// upTo are the numbers 1000 to 1000+n.
func upTo(n int) []int {
	ids := make([]int, n)
	for i := range ids {
		ids[i] = 1000 + i
	}
	return ids
}

func framed(messages ...[]byte) []byte { return testkit.Frames(messages...) }

// scanCall scans a gRPC request, cut at the given offsets, from memory that it may not
// keep.
func scanCall(s *Scanner, c Call, body []byte, cuts ...int) (*Result, error) {
	s.ResetCall(c)
	from := 0
	for _, at := range append(slices.Clone(cuts), len(body)) {
		part := slices.Clone(body[from:at])
		if err := s.Write(part); err != nil {
			return nil, err
		}
		clear(part)
		from = at
	}
	return s.Finish()
}

const chatJSON = `{"model":"gemma","stream":true,"max_tokens":9,"user":"u","messages":[{"role":"user","content":"hello there, this is long enough for blocks"}],"tools":[{"type":"function"}]}`

// TestCalls: what a gRPC request says is what the same request says over HTTP.
func TestCalls(t *testing.T) {
	idsJSON := func(ids []int, more string) string {
		b, _ := json.Marshal(ids)
		return `{"input_ids":` + string(b) + more + `}`
	}
	ids := upTo(100)
	text := strings.Repeat("some words ", 30)
	vertex := pb(1, "projects/p/endpoints/e", 2, pb(1, "application/json", 2, chatJSON))
	for name, test := range map[string]struct {
		call Call
		body []byte
		api  API
		json string
	}{
		"vertex chat":       {VertexChatCompletions, vertex, ChatCompletions, chatJSON},
		"vertex last":       {VertexChatCompletions, pb(2, pb(2, `{"model":1`), 1, "e", 2, pb(2, "[]", 2, chatJSON)), ChatCompletions, chatJSON},
		"vertex raw":        {VertexRawPredict, pb(2, pb(2, `{"input":"abc","max_output_tokens":3}`)), Responses, `{"input":"abc","max_output_tokens":3}`},
		"vertex stream":     {VertexStreamRawPredict, pb(2, pb(2, `{"input":"abc","stream":true}`)), Responses, `{"input":"abc","stream":true}`},
		"vllm ids":          {VLLMGenerate, pb(1, "id", 2, pb(1, "text", 2, packed(ids...)), 4, pb(1, float32(1), 8, 7, 10, "stop"), 5, 1), Generate, idsJSON(ids, `,"stream":true,"sampling_params":{"max_tokens":7}`)},
		"vllm unpacked":     {VLLMGenerate, pb(2, pb(2, 1000, 2, packed(1001, 1002), 2, 1003)), Generate, idsJSON(upTo(4), "")},
		"vllm merged":       {VLLMGenerate, pb(2, pb(2, packed(ids[:40]...)), 2, pb(2, packed(ids[40:]...))), Generate, idsJSON(ids, "")},
		"vllm text last":    {VLLMGenerate, pb(2, pb(2, packed(1, 2)), 3, "x", 3, text), Completions, `{"prompt":"` + text + `"}`},
		"vllm ids last":     {VLLMGenerate, pb(3, text, 2, pb(2, packed(ids...))), Generate, idsJSON(ids, "")},
		"vllm nothing":      {VLLMGenerate, nil, Generate, `{}`},
		"vllm no limit":     {VLLMGenerate, pb(4, pb(8, 5, 8, -1)), Generate, `{}`},
		"vllm embed":        {VLLMEmbed, pb(2, pb(2, packed(ids...))), Embeddings, `{"input":` + idsJSON(ids, "")[13:]},
		"sglang text":       {SGLangTextGenerate, pb(1, text, 2, pb(8, 7), 3, 1, 8, "rid"), Completions, `{"prompt":"` + text + `","stream":true,"max_tokens":7}`},
		"sglang adapter":    {SGLangTextGenerate, pb(1, text, 9, "lora"), Completions, `{"prompt":"` + text + `","cache_salt":"lora"}`},
		"sglang ids":        {SGLangGenerate, pb(1, packed(ids...), 3, 1, 8, "lora"), Generate, idsJSON(ids, `,"stream":true,"cache_salt":"lora"`)},
		"sglang text embed": {SGLangTextEmbed, pb(1, text), Completions, `{"prompt":"` + text + `"}`},
		"sglang embed":      {SGLangEmbed, pb(1, packed(ids...)), Generate, idsJSON(ids, "")},
		"sglang chat":       {SGLangChatComplete, pb(1, chatJSON, 2, pb(1, "a", 2, "b")), ChatCompletions, chatJSON},
		"sglang completion": {SGLangComplete, pb(1, `{"model":"m","prompt":"p"}`), Completions, `{"model":"m","prompt":"p"}`},
		"sglang embeddings": {SGLangOpenAIEmbed, pb(1, `{"model":"m","input":"p"}`), Embeddings, `{"model":"m","input":"p"}`},
		"scheduler":         {SchedulerGenerate, pb(1, "id", 2, pb(2, packed(ids...)), 4, pb(8, 7), 15, "lora", 17, 1), Generate, idsJSON(ids, `,"stream":true,"cache_salt":"lora","sampling_params":{"max_tokens":7}`)},
		"scheduler embed":   {SchedulerEmbed, pb(2, pb(2, packed(ids...))), Generate, idsJSON(ids, "")},
	} {
		t.Run(name, func(t *testing.T) {
			opts := Options{BlockBytes: 32}
			want, err := scanAll(New(opts), test.api, []byte(test.json))
			if err != nil {
				t.Fatal(err)
			}
			want.API, want.GRPC, want.ModelStart, want.ModelEnd = test.call.API(), true, 0, 0
			body := framed(test.body)
			s := New(opts)
			for at := range len(body) + 1 {
				got, err := scanCall(s, test.call, body, at)
				if err != nil {
					t.Fatalf("cut at %d: %v", at, err)
				}
				if fmt.Sprint(*got) != fmt.Sprint(*want) {
					t.Fatalf("cut at %d:\ngot  %+v\nwant %+v", at, *got, *want)
				}
			}
		})
	}
}

// TestCallsWithItems: an image is part of the block that it begins in, and of no block
// before; what it takes of the token ids is its length.
func TestCallsWithItems(t *testing.T) {
	s := New(Options{BlockBytes: 50})
	ids := pb(2, packed(upTo(2000)...))
	scanned := func(c Call, message []byte) Result {
		r, err := scanCall(s, c, framed(message))
		if err != nil {
			t.Fatal(err)
		}
		out := *r
		out.Blocks, out.Media = slices.Clone(r.Blocks), slices.Clone(r.Media)
		return out
	}
	plain := scanned(VLLMGenerate, pb(2, ids))
	// Item i is at token 100+i.
	vllm := func(hashes ...string) []byte {
		var media []byte
		for i := range hashes {
			media = append(media, pb(5, pb(1, 100+i, 2, 1))...)
		}
		for _, h := range hashes {
			media = append(media, pb(6, h)...)
		}
		return pb(2, ids, 7, media)
	}
	one, other, both := scanned(VLLMGenerate, vllm("a")), scanned(VLLMGenerate, vllm("b")), scanned(VLLMGenerate, vllm("a", "b"))
	const at = 10 // 50 bytes are 10 tokens, and the first block has a byte before them
	for _, test := range []struct {
		name string
		a, b Result
		same int
	}{
		{"without", plain, one, at}, {"another", one, other, at}, {"one more", one, both, at}, {"itself", one, scanned(VLLMGenerate, vllm("a")), len(one.Blocks)},
	} {
		same := 0
		for same < len(test.a.Blocks) && test.a.Blocks[same] == test.b.Blocks[same] {
			same++
		}
		if same != test.same {
			t.Errorf("%s: %d blocks are the same, want %d", test.name, same, test.same)
		}
	}
	if plain.Images != 0 || one.Images != 1 || both.Images != 2 || len(both.Media) != 2 || one.Media[0] != both.Media[0] {
		t.Errorf("images are %d, %d, %d, and their digests %v and %v", plain.Images, one.Images, both.Images, one.Media, both.Media)
	}
	if n := one.PromptTokens(); n != 2000 {
		t.Errorf("the prompt has %d tokens, want 2000", n)
	}
	// One that the engine is yet to load is not in the token ids.
	refs := scanned(VLLMGenerate, pb(2, ids, 10, pb(1, pb(1, 1, 2, "https://x"))))
	if n := refs.PromptTokens(); n != 2000+TokensPerImage || refs.Images != 1 || len(refs.Media) != 1 {
		t.Errorf("with a URL the prompt has %d tokens and %d images", n, refs.Images)
	}
	sgl := scanned(SchedulerGenerate, pb(2, ids, 3, pb(1, "https://x", 5, strings.Repeat("x", 5000), 11, pb(1, 5, 2, 2))))
	if sgl.Images != 2 || len(sgl.Media) != 2 || sgl.Blocks[0] == plain.Blocks[0] {
		t.Errorf("SGLang: %d images, %d digests", sgl.Images, len(sgl.Media))
	}
}

// TestCallAllocations: like a request over HTTP, one over gRPC allocates nothing.
func TestCallAllocations(t *testing.T) {
	s := New(Options{})
	for name, test := range map[string]struct {
		call    Call
		message []byte
	}{
		"ids":  {VLLMGenerate, pb(2, pb(2, packed(upTo(50_000)...)), 7, pb(5, pb(1, 3, 2, 2), 6, "hash"))},
		"text": {SGLangTextGenerate, pb(1, strings.Repeat("word ", 10_000), 9, "lora")},
		"JSON": {VertexChatCompletions, pb(2, pb(2, chatJSON))},
	} {
		body := framed(test.message)
		if n := testing.AllocsPerRun(20, func() {
			s.ResetCall(test.call)
			if s.Write(body) != nil {
				t.Fatal(name)
			}
			if _, err := s.Finish(); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestCallErrors(t *testing.T) {
	s := New(Options{MaxField: 20})
	for name, test := range map[string]struct {
		call Call
		body []byte
		want string
	}{
		"no message":   {VLLMGenerate, nil, "invalid gRPC message at byte 0: there is no message"},
		"two messages": {VLLMGenerate, append(framed(nil), framed(nil)...), "invalid gRPC message at byte 10: there is more than one message"},
		"compressed":   {VertexChatCompletions, []byte{1, 0, 0, 0, 0}, "invalid gRPC message at byte 5: it is compressed; send it uncompressed"},
		"malformed":    {VLLMGenerate, framed([]byte{0xff}), "invalid gRPC message at byte 6: a number ends early"},
		"no JSON":      {VertexChatCompletions, framed(pb(1, "e")), `field "body": the message must hold the request as JSON`},
		"bad JSON":     {VertexChatCompletions, framed(pb(2, pb(2, "hello"))), "invalid JSON body at byte 0: body must be a JSON object"},
		"empty JSON":   {SGLangChatComplete, framed(pb(1, "")), "invalid JSON body at byte 0: body must be a JSON object"},
		"bad field":    {VertexChatCompletions, framed(pb(2, pb(2, `{"model":5}`))), `field "model": must be a string`},
		"long adapter": {SGLangTextGenerate, framed(pb(9, strings.Repeat("a", 21))), `field "lora": must be at most 20 bytes`},
	} {
		if r, err := scanCall(s, test.call, test.body); err == nil || err.Error() != test.want {
			t.Errorf("%s: %v, %v, want %s", name, r, err, test.want)
		}
	}
	_, err := scanCall(s, VertexChatCompletions, []byte{1, 0, 0, 0, 0})
	var wire *WireError
	if !errors.As(err, &wire) || !wire.Compressed {
		t.Errorf("%v does not say that it is for the compression", err)
	}
	// The scanner is as good as new.
	if r, err := scanAll(s, ChatCompletions, []byte(`{"model":"m"}`)); err != nil || r.Model != "m" || r.GRPC || r.ModelEnd == 0 {
		t.Errorf("then, over HTTP: %+v, %v", r, err)
	}
}

func TestCallFromPath(t *testing.T) {
	for path, want := range map[string]Call{
		"/google.cloud.aiplatform.v1beta1.PredictionService/ChatCompletions": VertexChatCompletions,
		"/google.cloud.aiplatform.v1.PredictionService/RawPredict":           VertexRawPredict,
		"/google.cloud.aiplatform.v1.PredictionService/StreamRawPredict":     VertexStreamRawPredict,
		"/PredictionService/RawPredict":                                      VertexRawPredict,
		"/google.cloud.aiplatform.v1.PredictionService/Predict":              NoCall,
		"/a.OtherPredictionService/RawPredict":                               NoCall,
		"PredictionService/RawPredict":                                       NoCall,
		"/vllm.grpc.engine.VllmEngine/Generate":                              VLLMGenerate,
		"/prefix/vllm.grpc.engine.VllmEngine/Embed":                          VLLMEmbed,
		"/vllm.grpc.engine.VllmEngine/HealthCheck":                           NoCall,
		"/x.vllm.grpc.engine.VllmEngine/Generate":                            NoCall,
		"/sglang.runtime.v1.SglangService/TextGenerate":                      SGLangTextGenerate,
		"/sglang.runtime.v1.SglangService/Complete":                          SGLangComplete,
		"/sglang.runtime.v1.SglangService/ChatComplete":                      SGLangChatComplete,
		"/sglang.grpc.scheduler.SglangScheduler/Generate":                    SchedulerGenerate,
		"/v1/chat/completions":                                               NoCall, "": NoCall,
	} {
		if got := CallFromPath(path); got != want {
			t.Errorf("%s is call %d, want %d", path, got, want)
		}
	}
	for c := VertexChatCompletions; int(c) < len(calls); c++ {
		if got := CallFromPath("/" + strings.TrimPrefix(calls[c].path, "/")); got != c || c.API() == Other {
			t.Errorf("call %d is call %d by its path, of API %s", c, got, c.API())
		}
	}
	if NoCall.API() != Other || Call(200).API() != Other || Call(200).JSON() {
		t.Error("no call is of an API")
	}
}

func TestIsGRPC(t *testing.T) {
	for contentType, want := range map[string][2]bool{
		"application/grpc": {true, true}, "application/grpc+proto": {true, true}, "application/grpc; charset=x": {true, true},
		"application/grpc+json": {true, false}, "application/grpc+proto2;a": {true, false}, "application/grpc-web": {}, "application/grpc-web+proto": {},
		"application/json": {}, "": {}, "application/grpcx": {},
	} {
		if grpc, proto := IsGRPC(contentType); [2]bool{grpc, proto} != want {
			t.Errorf("%q is %v, %v, want %v", contentType, grpc, proto, want)
		}
	}
}

// callSeeds are requests of each kind.
var callSeeds = [][]byte{
	nil, framed(nil), framed(pb(2, pb(2, chatJSON))), framed(pb(1, chatJSON)), framed(pb(1, "text", 2, pb(8, 7), 3, 1, 9, "lora")),
	framed(pb(1, "id", 2, pb(1, "text", 2, packed(upTo(40)...)), 4, pb(8, 7, 27, 5), 5, 1, 7, pb(5, pb(1, 3, 2, 2), 6, "hash"))),
	framed(pb(3, "text", 2, pb(2, packed(7, 8, 9)), 3, "more", 10, pb(1, pb(2, "https://x")))),
	framed(pb(1, packed(upTo(40)...), 8, "lora")), framed(pb(2, pb(2, packed(upTo(40)...)), 3, pb(1, "https://x", 5, "bytes", 11, pb(1, 2)), 17, 1)),
	append(framed(pb(2, pb(2, 5))), 0), {1, 0, 0, 0, 1, 0},
}

// FuzzCall: a request is the same in one piece and in several, and its prompt is what
// InnerOf, which reads it in memory, says.
func FuzzCall(f *testing.F) {
	for _, body := range callSeeds {
		for c := VertexChatCompletions; int(c) < len(calls); c++ {
			f.Add(body, uint8(c), uint16(9))
		}
	}
	s := New(Options{BlockBytes: 16, MaxField: 20, MaxDepth: 8})
	f.Fuzz(func(t *testing.T, body []byte, c uint8, cut uint16) {
		call := VertexChatCompletions + Call(c)%Call(len(calls)-1)
		at := int(cut) % (len(body) + 1)
		whole, err := scanCall(s, call, body)
		want := fmt.Sprint(err)
		var tokens, blocks int64
		if err == nil {
			want = fmt.Sprint(*whole)
			tokens = whole.PromptTokens()
			for _, b := range whole.Blocks {
				blocks += int64(b.Tokens)
			}
			if blocks > tokens && whole.Images == 0 {
				t.Fatalf("blocks have %d tokens, the prompt %d", blocks, tokens)
			}
			if in, ok := InnerOf(call, body); ok && in.JSON == nil && len(in.Items) == 0 && whole.Images == 0 {
				if n := int64(len(in.IDs))*BytesPerToken + int64(len(in.Text)); n != whole.PromptBytes {
					t.Fatalf("the prompt has %d bytes, and as read in memory %d", whole.PromptBytes, n)
				}
			}
		} else {
			InnerOf(call, body)
		}
		parts, err := scanCall(s, call, body, at/2, at)
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprint(*parts)
		}
		if got != want {
			t.Fatalf("cut at %d and %d: %s\nwhole: %s", at/2, at, got, want)
		}
	})
}

func TestInnerOf(t *testing.T) {
	for name, test := range map[string]struct {
		call    Call
		message []byte
		want    string // "" for none
	}{
		"vertex":         {VertexRawPredict, pb(2, pb(1, "application/json", 2, "{}")), `{} "" [] []`},
		"sglang chat":    {SGLangChatComplete, pb(1, "{}"), `{} "" [] []`},
		"ids":            {VLLMGenerate, pb(2, pb(1, "x", 2, packed(1, 2), 2, 3, 2, packed(300, 4294967295))), ` "" [1 2 3 300 4294967295] []`},
		"sglang ids":     {SGLangGenerate, pb(1, packed(1, 2)), ` "" [1 2] []`},
		"scheduler":      {SchedulerGenerate, pb(2, pb(2, packed(1, 2))), ` "" [1 2] []`},
		"text":           {VLLMGenerate, pb(2, pb(2, packed(1)), 3, "hello"), ` "hello" [] []`},
		"items":          {VLLMGenerate, pb(2, pb(2, packed(1, 2, 3)), 7, pb(5, pb(1, 1, 2, 2), 6, "hash")), ` "" [1 2 3] [{hash 1 2}]`},
		"item unnamed":   {VLLMGenerate, pb(2, pb(2, packed(1, 2, 3)), 7, pb(5, pb(1, 1, 2, 2))), ""},
		"item nowhere":   {VLLMGenerate, pb(2, pb(2, packed(1, 2, 3)), 7, pb(6, "hash")), ""},
		"yet to load":    {VLLMGenerate, pb(2, pb(2, packed(1)), 10, pb(1, pb(2, "https://x"))), ""},
		"cut":            {VLLMGenerate, pb(2, pb(2, packed(1)), 4, pb(27, 5)), ""},
		"SGLang's text":  {SGLangTextGenerate, pb(1, "hello"), ""},
		"adapter":        {SGLangGenerate, pb(1, packed(1, 2), 8, "lora"), ""},
		"SGLang's items": {SchedulerGenerate, pb(2, pb(2, packed(1, 2)), 3, pb(1, "https://x")), ""},
		"nothing":        {VLLMGenerate, nil, ""},
		"malformed":      {VLLMGenerate, []byte{0xff}, ""},
		"no call":        {NoCall, pb(1, "{}"), ""},
	} {
		in, ok := InnerOf(test.call, framed(test.message))
		got := ""
		if ok {
			got = fmt.Sprintf("%s %q %v %v", in.JSON, in.Text, in.IDs, in.Items)
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
	if _, ok := InnerOf(VLLMGenerate, framed(nil)[:3]); ok {
		t.Error("half a header has a prompt")
	}
}
