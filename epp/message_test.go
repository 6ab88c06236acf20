package epp

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/epp/tokens"
	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/extproc/scan"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

const (
	vllmGenerate = "/vllm.grpc.engine.VllmEngine/Generate"
	vertex       = "/google.cloud.aiplatform.v1.PredictionService/"
	sglang       = "/sglang.runtime.v1.SglangService/"
)

// field appends a field with a length.
func field(b []byte, num protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), content)
}

func grpcFrame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// TestFromMessage: token ids are taken as they are, and what has to be tokenized is asked
// about as HTTP has it.
func TestFromMessage(t *testing.T) {
	item := func(at, length byte) []byte {
		return field(field(nil, 5, []byte{1 << 3, at, 2 << 3, length}), 6, []byte("hash"))
	}
	ids := field(nil, 2, field(nil, 2, []byte{1, 2, 3, 4}))
	for name, test := range map[string]struct {
		path    string
		message []byte
		want    string // "" for nothing
	}{
		"ids":          {vllmGenerate, ids, "[1 2 3 4] []"},
		"image":        {vllmGenerate, field(ids, 7, item(1, 3)), "[1 2 3 4] [{hash 1 3}]"},
		"images":       {vllmGenerate, field(field(ids, 7, item(1, 1)), 11, item(2, 2)), "[1 2 3 4] [{hash 1 1} {hash 2 2}]"},
		"overlapping":  {vllmGenerate, field(field(ids, 7, item(1, 2)), 11, item(2, 2)), ""},
		"outside":      {vllmGenerate, field(ids, 7, item(2, 3)), ""},
		"of no length": {vllmGenerate, field(ids, 7, item(2, 0)), ""},
		"text":         {vllmGenerate, field(nil, 3, []byte("a \"b\"\n")), `/v1/completions {"prompt":"a \"b\"\n"}`},
		"chat":         {vertex + "ChatCompletions", field(nil, 2, field(nil, 2, []byte(`{"messages":[]}`))), `/v1/chat/completions {"messages":[]}`},
		"raw":          {vertex + "RawPredict", field(nil, 2, field(nil, 2, []byte(`{"input":"x"}`))), `/v1/responses {"input":"x"}`},
		"completion":   {sglang + "Complete", field(nil, 1, []byte(`{"prompt":"x"}`)), `/v1/completions {"prompt":"x"}`},
		"embeddings":   {sglang + "OpenAIEmbed", field(nil, 1, []byte(`{"input":"x"}`)), ""},
		"unknown":      {"/a.B/C", ids, ""},
	} {
		p := kvcache.Prompt{Path: test.path, Model: "m", Body: grpcFrame(test.message)}
		got := ""
		if fromMessage(&p) {
			if got = p.Path + " " + string(p.Body); p.Known != nil {
				got = fmt.Sprint(p.Known.IDs, p.Known.Images)
				if !p.Known.Exact || p.Known.Count != 4 || p.Known.Model != "m" {
					t.Errorf("%s: %+v", name, *p.Known)
				}
			}
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
	}
}

// TestPickByHoldingsOfCall: a call's token ids find the endpoint that holds them.
func TestPickByHoldingsOfCall(t *testing.T) {
	e := newFakePool(2)
	cache := &fakeCache{wanted: true, held: map[int32]int64{0: 0, 1: 16}, found: kvcache.Found{Keys: []prefix.Block{{Hash: 7, Tokens: 16}}, Tokens: 17}}
	p := newPicker(t, Options{Pools: []Pool{{Name: "ns/pool", Endpoints: e, Cache: cache}}})
	for _, test := range []struct {
		message []byte
		known   bool
	}{{field(nil, 2, field(nil, 2, []byte{1, 2, 3})), true}, {[]byte{0xff}, false}} {
		cache.asked = nil
		req := extproc.NewRequest(nil, nil)
		// The fake cache wants chat completions alone.
		req.Path, req.Body = vllmGenerate, scan.Result{API: scan.ChatCompletions, GRPC: true, PromptBytes: 400}
		req.SetBody(grpcFrame(test.message))
		pick := mustPick(t, p, req)
		if asked := len(cache.asked) == 1; asked != test.known {
			t.Fatalf("asked %v", cache.asked)
		}
		if test.known {
			want := tokens.Tokens{IDs: []uint32{1, 2, 3}, Count: 3, Exact: true}
			if got := cache.asked[0].Known; got == nil || fmt.Sprint(*got) != fmt.Sprint(want) || pick.Destinations[:13] != "10.0.0.2:8000" {
				t.Errorf("asked with %v, sent to %s", got, pick.Destinations)
			}
		}
		pick.Observer.End(time.Now(), extproc.Outcome{})
	}
}

// TestCallKeepsModel: a model's name in a message cannot be replaced, so it goes by it.
func TestCallKeepsModel(t *testing.T) {
	p := newPicker(t, Options{
		Pools:   []Pool{{Name: "ns/pool", Endpoints: newFakePool(2)}},
		Rewrite: func(string, string) (string, string, bool) { return "other", "rule", true },
	})
	for _, grpc := range []bool{false, true} {
		req := extproc.NewRequest(nil, nil)
		req.Body = scan.Result{API: scan.ChatCompletions, Model: "m", GRPC: grpc, PromptBytes: 400}
		pick := mustPick(t, p, req)
		if want := map[bool]string{false: "other", true: ""}[grpc]; pick.Model != want {
			t.Errorf("gRPC %v: the model becomes %q, want %q", grpc, pick.Model, want)
		}
		pick.Observer.End(time.Now(), extproc.Outcome{})
	}
}
