package scan

import "strings"

// Call is the gRPC method that a request calls, known from its path.
type Call uint8

const (
	// NoCall is any request that is not gRPC, or calls a method that is none of the
	// below.
	NoCall Call = iota
	// VertexChatCompletions is ChatCompletions of Vertex AI's PredictionService: a chat
	// completion as JSON in a message, as are its answers.
	VertexChatCompletions
	// VertexRawPredict is RawPredict of the same service, with a response (OpenAI's
	// Responses) in it.
	VertexRawPredict
	// VertexStreamRawPredict is its StreamRawPredict.
	VertexStreamRawPredict
	// VLLMGenerate is Generate of vLLM's vllm.grpc.engine.VllmEngine.
	VLLMGenerate
	// VLLMEmbed is Embed of the same service.
	VLLMEmbed
	// SGLangTextGenerate is TextGenerate of SGLang's sglang.runtime.v1.SglangService.
	SGLangTextGenerate
	// SGLangGenerate is its Generate, which takes token ids.
	SGLangGenerate
	// SGLangTextEmbed is its TextEmbed.
	SGLangTextEmbed
	// SGLangEmbed is its Embed, which takes token ids.
	SGLangEmbed
	// SGLangChatComplete is its ChatComplete, a chat completion as JSON in a message.
	SGLangChatComplete
	// SGLangComplete is its Complete, a completion as JSON.
	SGLangComplete
	// SGLangOpenAIEmbed is its OpenAIEmbed, embeddings as JSON.
	SGLangOpenAIEmbed
	// SchedulerGenerate is Generate of SGLang's sglang.grpc.scheduler.SglangScheduler.
	SchedulerGenerate
	// SchedulerEmbed is Embed of the same service.
	SchedulerEmbed
)

const (
	vertexService    = "PredictionService/" // of any version of the API
	vllmService      = "/vllm.grpc.engine.VllmEngine/"
	sglangService    = "/sglang.runtime.v1.SglangService/"
	schedulerService = "/sglang.grpc.scheduler.SglangScheduler/"
)

// calls are what is known of each call. No path is the end of another one.
var calls = [...]struct {
	path string
	api  API
	// root is the request's message, and stream the number of its field that asks for a
	// stream; 0 where JSON does.
	root   place
	stream int
	// json says that the request is JSON in the message, the one of api.
	json bool
}{
	VertexChatCompletions:  {path: vertexService + "ChatCompletions", api: ChatCompletions, root: vertexRequest, json: true},
	VertexRawPredict:       {path: vertexService + "RawPredict", api: Responses, root: vertexRequest, json: true},
	VertexStreamRawPredict: {path: vertexService + "StreamRawPredict", api: Responses, root: vertexRequest, json: true},
	VLLMGenerate:           {path: vllmService + "Generate", api: Generate, root: vllmGenerate, stream: 5},
	VLLMEmbed:              {path: vllmService + "Embed", api: Embeddings, root: vllmEmbed},
	SGLangTextGenerate:     {path: sglangService + "TextGenerate", api: Generate, root: sglangText, stream: 3},
	SGLangGenerate:         {path: sglangService + "Generate", api: Generate, root: sglangIDs, stream: 3},
	SGLangTextEmbed:        {path: sglangService + "TextEmbed", api: Embeddings, root: sglangTextEmbed},
	SGLangEmbed:            {path: sglangService + "Embed", api: Embeddings, root: sglangIDsEmbed},
	SGLangChatComplete:     {path: sglangService + "ChatComplete", api: ChatCompletions, root: sglangJSON, json: true},
	SGLangComplete:         {path: sglangService + "Complete", api: Completions, root: sglangJSON, json: true},
	SGLangOpenAIEmbed:      {path: sglangService + "OpenAIEmbed", api: Embeddings, root: sglangJSON, json: true},
	SchedulerGenerate:      {path: schedulerService + "Generate", api: Generate, root: schedulerGenerate, stream: 17},
	SchedulerEmbed:         {path: schedulerService + "Embed", api: Embeddings, root: schedulerEmbed},
}

// CallFromPath tells the call from the path of a gRPC request. The path's end decides,
// as in [APIFromPath].
func CallFromPath(path string) Call {
	for c := VertexChatCompletions; int(c) < len(calls); c++ {
		if strings.HasSuffix(path, calls[c].path) && (calls[c].path[0] == '/' || bounded(path, calls[c].path)) {
			return c
		}
	}
	return NoCall
}

// bounded reports whether what ends path is a service's whole name but for packages.
func bounded(path, end string) bool {
	i := len(path) - len(end)
	return i > 0 && (path[i-1] == '/' || path[i-1] == '.')
}

// API is the API that the call stands for, Other for NoCall: whose JSON the message
// holds, or [Generate] or [Embeddings].
func (c Call) API() API {
	if int(c) >= len(calls) {
		return Other
	}
	return calls[c].api
}

// JSON reports whether the call's messages hold JSON.
func (c Call) JSON() bool { return int(c) < len(calls) && calls[c].json }

// IsGRPC tells from a content-type whether a request, or response, is gRPC; proto says
// that its messages are protobuf, as they are unless it names another format.
func IsGRPC(contentType string) (grpc, proto bool) {
	rest, ok := strings.CutPrefix(contentType, "application/grpc")
	if !ok {
		return false, false
	}
	format, _, _ := strings.Cut(rest, ";")
	format = strings.TrimSpace(format)
	switch {
	case format == "" || format == "+proto":
		return true, true
	case format[0] == '+':
		return true, false
	}
	return false, false // another media type, such as that of gRPC-Web
}
