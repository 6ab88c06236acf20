package scan

import "github.com/fairway-ai/fairway/extproc/internal/jsonlex"

// The methods below make Scanner its lexer's Handler; see jsonlex.Handler. They
// are no use to anyone else.

// Open implements jsonlex.Handler.
func (s *Scanner) Open(object bool) {
	depth := s.lex.Depth()
	if c := s.current(); c != nil {
		c.kind = captureWrongType
	}
	if s.prompt != nil {
		s.block.tag(tagOf(object, tagObject, tagArray))
	}
	f := frame{under: s.key, array: !object}
	s.frames[depth+1] = f
	s.key = keyNone
}

// Close implements jsonlex.Handler.
func (s *Scanner) Close(object bool) {
	s.key = keyNone
	if s.prompt == nil {
		return
	}
	if s.lex.Depth() == 1 {
		s.endPrompt()
		return
	}
	s.block.tag(tagOf(object, tagEndObject, tagEndArray))
}

func tagOf(object bool, yes, no byte) byte {
	if object {
		return yes
	}
	return no
}

// Literal implements jsonlex.Handler.
func (s *Scanner) Literal(c byte) {
	if f := s.current(); f != nil && c != 'n' {
		f.kind = captureWrongType
	}
	switch {
	case s.prompt != nil && s.lex.Depth() == 1:
		s.endPrompt() // a literal is no prompt
	case s.prompt != nil:
		s.block.tag(tagLiteral)
		s.block.text(literalText(c))
	case s.field == fieldStream && s.lex.Depth() == 1:
		s.stream = c == 't'
	}
}

func literalText(c byte) string {
	switch c {
	case 't':
		return "true"
	case 'f':
		return "false"
	}
	return "null"
}

// Begin implements jsonlex.Handler.
func (s *Scanner) Begin(k jsonlex.Kind, off int64) {
	s.sink = sinkNone
	depth := s.lex.Depth()
	if k == jsonlex.Key {
		switch {
		case depth == 1 || depth == 2 && (s.field == fieldMetadata || s.field == fieldSampling):
			s.intoSmall(sinkKey, len(s.small))
		case s.prompt != nil:
			s.block.tag(tagKey)
			s.intoSmall(sinkPromptKey, len(s.small))
		}
		return
	}
	if s.prompt != nil {
		if k == jsonlex.Number {
			s.beginPromptNumber()
		} else {
			s.beginPromptString()
		}
		return
	}
	if c := s.current(); c != nil {
		if k != jsonlex.String {
			c.kind = captureWrongType
			return
		}
		c.kind, c.start = captureText, off
		s.sink, s.lex.Out, s.lex.N = sinkField, c.buf, 0
		return
	}
	if k == jsonlex.Number && (depth == 1 && (s.field == fieldMaxTokens || s.field == fieldMaxCompletion) ||
		depth == 2 && s.sub && s.field == fieldSampling) {
		s.intoSmall(sinkMax, len(s.small))
	}
}

// intoSmall directs the token's text into the first n bytes of small.
func (s *Scanner) intoSmall(k sink, n int) {
	s.sink, s.lex.Out, s.lex.N = k, s.small[:n], 0
}

// Full implements jsonlex.Handler.
func (s *Scanner) Full() {
	switch s.sink {
	case sinkBlock:
		s.block.n = s.lex.N
		s.block.flush()
		s.intoBlock()
		return
	case sinkMedia:
		s.media.flush()
		s.lex.N = 0
		return
	case sinkPromptKey, sinkType:
		s.key = keyNone // longer than any key or type that matters
		s.block.bytes(s.small[:s.lex.N])
		s.intoBlock()
		return
	case sinkID:
		s.block.tag(tagNumber)
		s.block.bytes(s.small[:s.lex.N])
		s.intoBlock()
		return
	case sinkProbe:
		s.decide()
		return
	case sinkField:
		s.current().kind = captureTooLong
	case sinkKey:
		s.startLongKey()
	}
	s.sink, s.lex.Out = sinkNone, nil
}

// startSub begins the field of the given key in metadata or sampling parameters.
func (s *Scanner) startSub(key []byte) {
	if s.field == fieldSampling {
		if s.sub = string(key) == "max_new_tokens" || string(key) == "max_tokens"; s.sub {
			s.maxTokens = 0
		}
		return
	}
	if s.sub = string(key) == "user_id"; s.sub {
		s.user.reset()
	}
}

// startLongKey is the field behind a key too long to be one that matters.
func (s *Scanner) startLongKey() {
	if s.lex.Depth() == 1 {
		s.startField(nil)
	} else {
		s.sub = false
	}
}

// End implements jsonlex.Handler.
func (s *Scanner) End(k jsonlex.Kind, off int64) {
	n := s.lex.N
	switch s.sink {
	case sinkKey:
		if s.lex.Depth() == 1 {
			s.startField(s.small[:n])
		} else {
			s.startSub(s.small[:n])
		}
	case sinkField:
		c := s.current()
		c.n, c.end = n, off
	case sinkMax:
		s.setMax(s.small[:n])
	case sinkPromptKey:
		s.key = keyOf(s.small[:n])
		s.block.bytes(s.small[:n])
	case sinkBlock:
		s.block.n = n
	case sinkProbe:
		if s.decide(); s.sink == sinkMedia {
			s.endMedia()
		} else {
			s.block.n = s.lex.N
		}
	case sinkType:
		if string(s.small[:n]) == "text" {
			s.frames[s.lex.Depth()].text = true
		}
		s.block.bytes(s.small[:n])
	case sinkID:
		s.endID(s.small[:n])
	case sinkMedia:
		s.endMedia()
	}
	s.sink = sinkNone
	if k != jsonlex.Key && s.prompt != nil && s.lex.Depth() == 1 {
		s.endPrompt()
	}
}
