package scan

import (
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/fairway-ai/fairway/extproc/internal/jsonlex"
)

// startField begins the top-level field of the given key. A field named again
// forgets what it was.
func (s *Scanner) startField(key []byte) {
	s.field, s.sub, s.prompt = fieldNone, false, nil
	switch string(key) {
	case "model":
		s.field = fieldModel
		s.model.reset()
	case "stream":
		s.field = fieldStream
		s.stream = false
	case "cache_salt":
		s.field = fieldSalt
		s.salt.reset()
	case "user":
		if !s.api.Anthropic() {
			s.field = fieldUser
			s.user.reset()
		}
	case "metadata":
		if s.api.Anthropic() {
			s.field = fieldMetadata
			s.user.reset()
		}
	case "sampling_params":
		if s.api == Generate {
			s.field = fieldSampling
			s.maxTokens = 0
		}
	case "max_tokens":
		if s.api == ChatCompletions || s.api == Completions || s.api == Messages {
			s.field = fieldMaxTokens
			s.maxTokens = 0
		}
	case "max_output_tokens":
		if s.api == Responses {
			s.field = fieldMaxTokens
			s.maxTokens = 0
		}
	case "max_completion_tokens":
		if s.api == ChatCompletions {
			s.field = fieldMaxCompletion
			s.maxCompletion = 0
		}
	default:
		if p := s.promptField(key); p != nil {
			s.field = fieldPrompt
			s.startPrompt(p)
		}
	}
}

// promptField is the prompt field of the given key, nil when it is none.
func (s *Scanner) promptField(key []byte) *prompt {
	switch string(key) {
	case "messages":
		if s.api == ChatCompletions || s.api == Messages {
			return &s.main
		}
	case "prompt":
		if s.api == Completions {
			return &s.main
		}
	case "input":
		if s.api == Embeddings || s.api == Responses {
			return &s.main
		}
	case "input_ids", "token_ids":
		if s.api == Generate {
			return &s.main
		}
	case "text":
		if s.api == Generate {
			return &s.system // beside the ids, which may be there as null
		}
	case "documents":
		if s.api == Rerank {
			return &s.main
		}
	case "query":
		if s.api == Rerank {
			return &s.system
		}
	case "tools":
		if s.api == ChatCompletions || s.api == Messages || s.api == Responses {
			return &s.tools
		}
	case "system":
		if s.api == Messages {
			return &s.system
		}
	case "instructions":
		if s.api == Responses {
			return &s.system
		}
	}
	return nil
}

// current is the capture that the value at the current depth belongs to, nil
// when it is none.
func (s *Scanner) current() *capture {
	switch depth := s.lex.Depth(); {
	case depth == 1 && s.field == fieldModel:
		return &s.model
	case depth == 1 && s.field == fieldSalt:
		return &s.salt
	case depth == 1 && s.field == fieldUser, depth == 2 && s.sub && s.field == fieldMetadata:
		return &s.user
	}
	return nil
}

// setMax takes the text of a bound on output tokens.
func (s *Scanner) setMax(text []byte) {
	n, ok := jsonlex.Int(text)
	if !ok || n < 0 {
		n = 0
	}
	n = min(n, math.MaxInt32) // so that sums of it cannot overflow
	if s.field == fieldMaxCompletion {
		s.maxCompletion = n
	} else {
		s.maxTokens = n
	}
}

type captureKind uint8

const (
	captureNone captureKind = iota
	captureText
	captureTooLong
	captureWrongType
)

// capture holds a short string field.
type capture struct {
	buf        []byte
	n          int
	kind       captureKind
	start, end int64 // in the body, quotes included
	last       string
}

func (c *capture) reset() { c.n, c.kind, c.start, c.end = 0, captureNone, 0, 0 }

// text is the field's string, "" when it is absent. A string equal to the last
// one costs no allocation.
func (c *capture) text(name string) (string, error) {
	switch c.kind {
	case captureWrongType:
		return "", &FieldError{Field: name, Msg: "must be a string"}
	case captureTooLong:
		return "", &FieldError{Field: name, Msg: fmt.Sprintf("must be at most %d bytes", len(c.buf)-1)}
	case captureNone:
		return "", nil
	}
	b := c.buf[:c.n]
	if string(b) == c.last {
		return c.last, nil
	}
	if utf8.Valid(b) {
		c.last = string(b)
		return c.last, nil
	}
	return string([]rune(string(b))), nil // every bad byte becomes U+FFFD
}
