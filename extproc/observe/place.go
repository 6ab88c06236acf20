package observe

import (
	"github.com/fairway-ai/fairway/extproc/internal/grpcwire"
	"github.com/fairway-ai/fairway/extproc/scan"
)

// place is a message or field of a gRPC response that is read.
type place uint8

const (
	placeNone place = iota

	// The responses.
	httpBody
	vllmResponse
	vllmEmbedded
	sglangText
	sglangIDs
	sglangEmbedded
	sglangChunk // of the calls that have OpenAI's JSON
	schedulerResponse
	schedulerEmbedded

	// Messages in them.
	chunk
	complete
	metaEntry // of a map from names to text

	// Fields.
	placeJSON
	placeText
	placeIDs
	placeKey
	placeValue
)

// roots are the responses of the calls.
var roots = [...]place{
	scan.VertexChatCompletions:  httpBody,
	scan.VertexRawPredict:       httpBody,
	scan.VertexStreamRawPredict: httpBody,
	scan.VLLMGenerate:           vllmResponse,
	scan.VLLMEmbed:              vllmEmbedded,
	scan.SGLangTextGenerate:     sglangText,
	scan.SGLangGenerate:         sglangIDs,
	scan.SGLangTextEmbed:        sglangEmbedded,
	scan.SGLangEmbed:            sglangEmbedded,
	scan.SGLangChatComplete:     sglangChunk,
	scan.SGLangComplete:         sglangChunk,
	scan.SGLangOpenAIEmbed:      sglangChunk,
	scan.SchedulerGenerate:      schedulerResponse,
	scan.SchedulerEmbed:         schedulerEmbedded,
}

// field is the place of a field that has a length, placeNone for one of no interest.
func (p place) field(num grpcwire.Number) place {
	switch {
	case p == httpBody && num == 2, p == sglangChunk && num == 1:
		return placeJSON
	case p == vllmResponse && num == 1, p == schedulerResponse && num == 2:
		return chunk
	case p == vllmResponse && num == 2, p == schedulerResponse && num == 3:
		return complete
	case (p == chunk || p == complete || p == sglangIDs) && num == 1:
		return placeIDs
	case p == sglangText && num == 1:
		return placeText
	case (p == sglangText || p == sglangIDs || p == sglangEmbedded) && num == 2:
		return metaEntry
	case p == metaEntry && num == 1:
		return placeKey
	case p == metaEntry && num == 2:
		return placeValue
	}
	return placeNone
}

// count is what a field that is a number counts, nodeOther for nothing.
func (p place) count(call scan.Call, num grpcwire.Number) node {
	switch p {
	case chunk: // its completion_tokens are the chunk's or all so far, by the engine
		switch {
		case num == 2:
			return nodePrompt
		case num == 4:
			return nodeCached
		case num == 9 && call == scan.SchedulerGenerate:
			return nodeReasoning
		}
	case complete:
		switch {
		case num == 3:
			return nodePrompt
		case num == 4:
			return nodeCompletion
		case num == 5:
			return nodeCached
		case num == 12 && call == scan.SchedulerGenerate:
			return nodeReasoning
		}
	case vllmEmbedded:
		if num == 2 {
			return nodePrompt
		}
	case schedulerEmbedded:
		if num == 6 {
			return nodePrompt
		}
	}
	return nodeOther
}
