package scan

import (
	"github.com/fairway-ai/fairway/extproc/internal/jsonlex"
	"github.com/fairway-ai/fairway/internal/forms"
)

// Scanner scans one body at a time and is reused with Reset. It is not safe for
// concurrent use.
type Scanner struct {
	opts Options
	lex  jsonlex.Lexer
	api  API
	res  Result

	// field is the top-level field being read, sub that the field of metadata or of
	// sampling parameters is the wanted one.
	field field
	sub   bool
	sink  sink
	// key is the media-relevant name of the key whose value comes next, keyNone
	// in arrays; frames has what is known of each open container, by depth.
	key    keyID
	frames []frame

	model, user, salt capture
	stream            bool
	maxTokens         int64
	// maxCompletion is chat's newer bound, which wins when it is set.
	maxCompletion int64

	small  [64]byte // keys, numbers, and strings that must be looked at first
	always bool     // the string in small is media whatever it starts with
	prompt *prompt  // being read, nil outside of prompt fields
	tools  prompt
	system prompt
	main   prompt
	block  blockBuffer
	media  mediaBuffer

	form   forms.Reader
	isForm bool

	message message // of a gRPC request
}

// field is a top-level field of a body.
type field uint8

const (
	fieldNone field = iota
	fieldModel
	fieldStream
	fieldMaxTokens
	fieldMaxCompletion
	fieldUser
	fieldMetadata
	fieldSalt
	fieldSampling
	fieldPrompt
)

// sink is where the current token's text goes.
type sink uint8

const (
	sinkNone      sink = iota
	sinkField          // the capture of the current field
	sinkKey            // small: a top-level or metadata key
	sinkMax            // small: a bound on output tokens
	sinkBlock          // the prompt block
	sinkPromptKey      // small: a key in the prompt
	sinkProbe          // small: a string that may be media
	sinkType           // small: the type of a source
	sinkID             // small: a token id
	sinkMedia          // the media buffer
)

// New makes a Scanner. Call Reset before the first body.
func New(opts Options) *Scanner {
	s := &Scanner{opts: opts.withDefaults()}
	s.lex.Init(s, s.opts.MaxDepth)
	s.frames = make([]frame, s.opts.MaxDepth+1)
	// One byte more than allowed, so that a full buffer is one that is too long.
	s.model.buf = make([]byte, s.opts.MaxField+1)
	s.user.buf = make([]byte, s.opts.MaxField+1)
	s.salt.buf = make([]byte, s.opts.MaxField+1)
	s.block.buf = make([]byte, max(largestBlock, s.opts.BlockBytes))
	return s
}

// Reset prepares for a body sent to api. What the last Finish returned is
// invalid from here on.
func (s *Scanner) Reset(api API) {
	s.api = api
	s.res = Result{API: api, Blocks: s.res.Blocks[:0], Media: s.res.Media[:0]}
	s.isForm, s.message.call = false, NoCall
	s.resetJSON()
}

// resetJSON forgets what was read of the body.
func (s *Scanner) resetJSON() {
	s.lex.Reset()
	s.field, s.sub, s.sink, s.key = fieldNone, false, sinkNone, keyNone
	s.model.reset()
	s.user.reset()
	s.salt.reset()
	s.stream, s.maxTokens, s.maxCompletion = false, 0, 0
	s.prompt = nil
	s.tools.reset()
	s.system.reset()
	s.main.reset()
}

// Write scans the body's next bytes and keeps no reference to them. An error is
// a *SyntaxError, of a form a *FieldError, of a gRPC message a *WireError, and final.
// Bodies of an API that is Other are not looked at.
func (s *Scanner) Write(chunk []byte) error {
	if s.api == Other {
		return nil
	}
	if s.isForm {
		return formError(s.form.Write(chunk))
	}
	if s.message.call != NoCall {
		return s.message.wire.Write(chunk)
	}
	return s.lex.Write(chunk)
}

// Finish ends the body. The result belongs to the scanner and is valid until
// Reset. An error is a *SyntaxError, a *FieldError or a *WireError.
func (s *Scanner) Finish() (*Result, error) {
	if s.api == Other {
		return &s.res, nil
	}
	if s.isForm {
		return s.finishForm()
	}
	if s.message.call != NoCall {
		return s.message.finish()
	}
	return s.finishJSON()
}

func (s *Scanner) finishJSON() (*Result, error) {
	if err := s.lex.Finish(); err != nil {
		return nil, err
	}
	user := "user"
	if s.api.Anthropic() {
		user = "metadata.user_id"
	}
	var err error
	if s.res.Model, err = s.model.text("model"); err != nil {
		return nil, err
	}
	if s.res.User, err = s.user.text(user); err != nil {
		return nil, err
	}
	if s.res.CacheSalt, err = s.salt.text("cache_salt"); err != nil {
		return nil, err
	}
	if s.model.kind == captureText {
		s.res.ModelStart, s.res.ModelEnd = s.model.start, s.model.end
	}
	s.res.Stream = s.stream
	if s.res.MaxTokens = s.maxTokens; s.maxCompletion > 0 {
		s.res.MaxTokens = s.maxCompletion
	}
	s.chain()
	return &s.res, nil
}
