package sdktest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime/schemas"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"google.golang.org/genai"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
	"github.com/fairway-ai/fairway/aibackend/internal/transcript"
)

// TestProviderRequestsAreValid decodes every request that was translated into the
// types of the provider's own SDK, and finds nothing that they do not know.
func TestProviderRequestsAreValid(t *testing.T) {
	seen := map[aibackend.Schema]int{}
	for _, tr := range transcript.All(t, "../../testdata") {
		r := tr.Run(t)
		if !r.Sent {
			continue
		}
		schema := tr.To.Schema
		seen[schema]++
		t.Run(tr.File, func(t *testing.T) {
			if checkOther(t, tr, &r) {
				return
			}
			switch schema {
			case aibackend.OpenAI, aibackend.AzureOpenAI, aibackend.Cohere:
				if p := otherParams(r.Request.Path); p != nil {
					roundTrip(t, r.Request.Body, p, "stream")
					return
				}
				var p openai.ChatCompletionNewParams
				roundTrip(t, r.Request.Body, &p, "stream", "tool_choice")
				// The SDK cannot read its own union of choices.
				if choice := fields.Member(r.Request.Body, "tool_choice"); jsonx.KindOf(choice) == jsonx.Object {
					var p openai.ChatCompletionNamedToolChoiceParam
					roundTrip(t, choice, &p)
				}
			case aibackend.Anthropic, aibackend.AWSAnthropic, aibackend.GCPAnthropic:
				if p := otherParams(r.Request.Path); p != nil {
					roundTrip(t, r.Request.Body, p)
					return
				}
				var p anthropic.MessageNewParams
				roundTrip(t, r.Request.Body, &p, "stream", "anthropic_version", "anthropic_beta")
			case aibackend.AWSBedrock:
				checkSmithy(t, "", schemas.ConverseRequest, decode(t, r.Request.Body))
			case aibackend.GCPVertexAI:
				checkGemini(t, r.Request.Body)
			}
		})
	}
	if len(seen) != 8 {
		t.Errorf("only %v were seen", seen)
	}
}

func decode(t *testing.T, doc []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(doc, &v); err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	return v
}

// roundTrip decodes the document into p and back: what p does not know is missing
// then. extra are members that the SDK sets beside p.
func roundTrip(t *testing.T, doc []byte, p any, extra ...string) {
	t.Helper()
	if err := json.Unmarshal(doc, p); err != nil {
		t.Fatalf("%v in %s", err, doc)
	}
	back, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	want, got := decode(t, doc).(map[string]any), decode(t, back).(map[string]any)
	for _, m := range []map[string]any{want, got} {
		for _, name := range extra {
			delete(m, name)
		}
		if m["model"] == nil || m["model"] == "" { // in the path
			delete(m, "model")
		}
		normalize(m)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-ours +theirs)\n%s", diff)
	}
}

// normalize undoes what the SDKs add or write in another way: a string of content is
// a list of one text, and members that are null are absent.
func normalize(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, m := range v {
			if s, ok := m.(string); ok && (k == "content" || k == "system") {
				v[k] = []any{map[string]any{"type": "text", "text": s}}
				continue
			}
			if m == nil {
				delete(v, k)
				continue
			}
			normalize(m)
		}
	case []any:
		for _, e := range v {
			normalize(e)
		}
	}
}

// checkSmithy checks a document against AWS's own model of the API.
func checkSmithy(t *testing.T, at string, s *smithy.Schema, v any) {
	t.Helper()
	bad := func(want string) { t.Errorf("%s: %v is no %s", at, v, want) }
	switch s.Type() {
	case smithy.ShapeTypeStructure, smithy.ShapeTypeUnion:
		m, ok := v.(map[string]any)
		if !ok || s.Type() == smithy.ShapeTypeUnion && len(m) != 1 {
			bad("structure or union")
			return
		}
		for name, v := range m {
			member := s.Member(name)
			if member == nil {
				t.Errorf("%s.%s is unknown to AWS", at, name)
				continue
			}
			checkSmithy(t, at+"."+name, member, v)
		}
	case smithy.ShapeTypeList:
		list, ok := v.([]any)
		if !ok {
			bad("list")
		}
		for i, v := range list {
			checkSmithy(t, fmt.Sprintf("%s[%d]", at, i), s.ListMember(), v)
		}
	case smithy.ShapeTypeString, smithy.ShapeTypeEnum, smithy.ShapeTypeBlob:
		if _, ok := v.(string); !ok {
			bad("string")
		}
	case smithy.ShapeTypeInteger, smithy.ShapeTypeLong, smithy.ShapeTypeFloat, smithy.ShapeTypeDouble:
		if _, ok := v.(float64); !ok {
			bad("number")
		}
	case smithy.ShapeTypeBoolean:
		if _, ok := v.(bool); !ok {
			bad("boolean")
		}
	case smithy.ShapeTypeDocument:
	case smithy.ShapeTypeMap:
		if _, ok := v.(map[string]any); !ok {
			bad("map")
		}
	default:
		t.Errorf("%s: type %v", at, s.Type())
	}
}

func checkGemini(t *testing.T, doc []byte) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	var q struct {
		Contents          []*genai.Content        `json:"contents"`
		SystemInstruction *genai.Content          `json:"systemInstruction"`
		Tools             []*genai.Tool           `json:"tools"`
		ToolConfig        *genai.ToolConfig       `json:"toolConfig"`
		GenerationConfig  *genai.GenerationConfig `json:"generationConfig"`
	}
	if err := d.Decode(&q); err != nil {
		t.Errorf("%v in %s", err, doc)
	}
	for _, c := range q.Contents {
		for _, p := range c.Parts {
			if p.InlineData != nil && len(p.InlineData.Data) == 0 {
				t.Errorf("empty data in %s", doc)
			}
		}
	}
}

// TestProviderTranscriptsAreReal checks that the answers of Bedrock in testdata are
// such as AWS's own model describes.
func TestProviderTranscriptsAreReal(t *testing.T) {
	n := 0
	for _, tr := range transcript.All(t, "../../testdata") {
		tr.Prepare(t)
		if tr.To.Schema != aibackend.AWSBedrock || tr.Out.Line != "200" || strings.HasPrefix(tr.File, "../../testdata/turn-") {
			continue
		}
		if tr.Out.Headers.Get("content-type") == "application/json" {
			n++
			checkSmithy(t, tr.File, schemas.ConverseResponse, decode(t, []byte(tr.Out.Body)))
			continue
		}
		for _, line := range strings.Split(strings.TrimSpace(tr.Out.Body), "\n") {
			f := strings.SplitN(line, " ", 3)
			member := schemas.ConverseStreamOutput.Member(f[1])
			if member == nil {
				t.Errorf("%s: AWS has no event %s", tr.File, f[1])
				continue
			}
			v := decode(t, []byte(f[2]))
			delete(v.(map[string]any), "p") // padding, and not in the model
			if f[0] == "event" {
				checkSmithy(t, tr.File+" "+f[1], member, v)
			}
			n++
		}
	}
	if n < 10 {
		t.Errorf("only %d were seen", n)
	}
}
