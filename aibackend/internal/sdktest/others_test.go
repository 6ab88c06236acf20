package sdktest

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	openaioption "github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/openai/openai-go/v3/responses"

	"github.com/fairway-ai/fairway/aibackend/internal/fields"
)

// otherOf is the end of a path that is not chat's, as others has it.
func otherOf(path string) string {
	path, _, _ = strings.Cut(path, "?")
	for _, api := range []string{"/embeddings", "/responses", "/images/generations", "/images/edits", "/images/variations", "/audio/speech",
		"/audio/transcriptions", "/audio/translations", "/moderations", "/detokenize", "/tokenize", "/rerank", "/messages/count_tokens", "/messages/batches"} {
		if strings.HasSuffix(path, api) {
			return api
		}
	}
	if strings.HasSuffix(path, "/completions") && !strings.HasSuffix(path, "/chat/completions") {
		return "/completions"
	}
	return ""
}

// otherParams is the SDK's type for a request, nil for chat.
func otherParams(path string) any {
	switch otherOf(path) {
	case "/completions":
		return new(openai.CompletionNewParams)
	case "/embeddings":
		return new(openai.EmbeddingNewParams)
	case "/responses":
		return new(responses.ResponseNewParams)
	case "/images/generations":
		return new(openai.ImageGenerateParams)
	case "/audio/speech":
		return new(openai.AudioSpeechNewParams)
	case "/moderations":
		return new(openai.ModerationNewParams)
	case "/messages/count_tokens":
		return new(anthropic.MessageCountTokensParams)
	}
	return nil
}

// others ask for APIs other than chat. An answer without its content is an error too.
var others = map[string]func(c canned, stream bool) error{
	"/completions": func(c canned, stream bool) error {
		o := openAIOf(c)
		if stream {
			return drain(o.Completions.NewStreaming(context.Background(), openai.CompletionNewParams{}), func(openai.Completion) error { return nil })
		}
		a, err := o.Completions.New(context.Background(), openai.CompletionNewParams{})
		return empty(err, func() bool { return a.Choices[0].Text == "" || a.Usage.TotalTokens == 0 })
	},
	"/embeddings": func(c canned, _ bool) error {
		o := openAIOf(c)
		a, err := o.Embeddings.New(context.Background(), openai.EmbeddingNewParams{})
		return empty(err, func() bool {
			return a.Data[0].JSON.Embedding.Raw() == "" || a.Data[0].JSON.Embedding.Raw()[0] == '[' && len(a.Data[0].Embedding) != 3
		})
	},
	"/responses": func(c canned, stream bool) error {
		o := openAIOf(c)
		if stream {
			return drain(o.Responses.NewStreaming(context.Background(), responses.ResponseNewParams{}), func(e responses.ResponseStreamEventUnion) error {
				if e.Type == "response.failed" || e.Type == "error" {
					return errors.New(e.Response.Error.Message + e.Message)
				}
				return nil
			})
		}
		a, err := o.Responses.New(context.Background(), responses.ResponseNewParams{})
		return empty(err, func() bool { return a.OutputText() == "" })
	},
	"/images/generations": func(c canned, stream bool) error {
		o := openAIOf(c)
		if stream {
			return drain(o.Images.GenerateStreaming(context.Background(), openai.ImageGenerateParams{}), func(openai.ImageGenStreamEventUnion) error { return nil })
		}
		a, err := o.Images.Generate(context.Background(), openai.ImageGenerateParams{})
		return empty(err, func() bool { return a.Data[0].B64JSON == "" })
	},
	"/audio/speech": func(c canned, _ bool) error {
		o := openAIOf(c)
		a, err := o.Audio.Speech.New(context.Background(), openai.AudioSpeechNewParams{})
		return empty(err, func() bool {
			b, err := io.ReadAll(a.Body)
			return err != nil || string(b) != string(c.body)
		})
	},
	"/images/edits": func(c canned, _ bool) error {
		o := openAIOf(c)
		a, err := o.Images.Edit(context.Background(), openai.ImageEditParams{})
		return empty(err, func() bool { return a.Data[0].B64JSON == "" })
	},
	// The SDK has given up these two.
	"/images/variations":  postOf("data"),
	"/audio/translations": postOf("text"),
	"/audio/transcriptions": func(c canned, _ bool) error {
		o := openAIOf(c)
		params := openai.AudioTranscriptionNewParams{File: strings.NewReader("x")}
		switch c.header.Get("content-type") {
		case "text/event-stream":
			return drain(o.Audio.Transcriptions.NewStreaming(context.Background(), params), func(openai.TranscriptionStreamEventUnion) error { return nil })
		case "text/plain; charset=utf-8": // the SDK reads JSON only
			return nil
		}
		a, err := o.Audio.Transcriptions.New(context.Background(), params)
		return empty(err, func() bool { return a.Text == "" })
	},
	"/rerank":     postOf("results"),
	"/tokenize":   postOf("tokens"),
	"/detokenize": postOf("prompt"),
	"/moderations": func(c canned, _ bool) error {
		o := openAIOf(c)
		a, err := o.Moderations.New(context.Background(), openai.ModerationNewParams{})
		return empty(err, func() bool { return len(a.Results) == 0 })
	},
	"/messages/count_tokens": func(c canned, _ bool) error {
		o := anthropicOf(c)
		a, err := o.Messages.CountTokens(context.Background(), anthropic.MessageCountTokensParams{})
		return empty(err, func() bool { return a.InputTokens == 0 })
	},
	"/messages/batches": func(c canned, _ bool) error {
		o := anthropicOf(c)
		_, err := o.Messages.Batches.New(context.Background(), anthropic.MessageBatchNewParams{})
		return err
	},
}

// postOf asks for an API that the SDKs do not have. Its answer must have a member.
func postOf(member string) func(canned, bool) error {
	return func(c canned, _ bool) error {
		if c.status != 200 {
			return errors.New(string(c.body))
		}
		return empty(nil, func() bool { return fields.Member(c.body, member) == nil })
	}
}

func openAIOf(c canned) openai.Client {
	return openai.NewClient(openaioption.WithAPIKey("k"), openaioption.WithMaxRetries(0),
		openaioption.WithHTTPClient(&http.Client{Transport: c}))
}

func anthropicOf(c canned) anthropic.Client {
	return anthropic.NewClient(anthropicoption.WithAPIKey("k"), anthropicoption.WithMaxRetries(0),
		anthropicoption.WithHTTPClient(&http.Client{Transport: c}))
}

func empty(err error, is func() bool) error {
	if err == nil && is() {
		return errors.New("the content is missing")
	}
	return err
}

// drain reads a stream. It must have events.
func drain[T any](s *ssestream.Stream[T], look func(T) error) error {
	n := 0
	for ; s.Next(); n++ {
		if err := look(s.Current()); err != nil {
			return err
		}
	}
	return empty(s.Err(), func() bool { return n == 0 })
}
