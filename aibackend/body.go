package aibackend

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/inflate"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

const (
	// maxErrorBody bounds the body of a failed response that is kept.
	maxErrorBody = 1 << 20
	identity     = "identity"
)

// input is a provider's body on its way in: decoded, and collected where it has to
// be whole.
type input struct {
	gzip  *inflate.Reader
	whole []byte
	limit int
	// held is what whole has taken of budget.
	budget *Budget
	held   int64
	json   document
}

// begin prepares for a body with these headers. It fails for encodings that cannot
// be decoded.
func (in *input) begin(h Headers, limit int, budget *Budget) *chat.Error {
	in.limit, in.budget = limit, budget
	switch e := strings.ToLower(strings.TrimSpace(h.Get("content-encoding"))); e {
	case "", identity:
	case "gzip", "x-gzip":
		in.gzip = inflate.New()
	default:
		return chat.Malformed("the provider", "its content-encoding is %.64q", e)
	}
	return nil
}

// decode gives the decoded bytes of a chunk to fn.
func (in *input) decode(chunk []byte, end bool, fn func([]byte)) *chat.Error {
	if in.gzip == nil {
		if len(chunk) > 0 {
			fn(chunk)
		}
		return nil
	}
	if err := in.gzip.Write(chunk, end, fn); err != nil {
		return chat.Malformed("the provider", "%v", err)
	}
	return nil
}

// collect adds a chunk to a successful answer. done says that the answer is all there, or
// that err is why there is none. What comes behind the document changes nothing: it may be
// in the same chunk or in none.
func (in *input) collect(chunk []byte, end bool) (done bool, err *chat.Error) {
	var kept *chat.Error
	err = in.decode(chunk, end, func(b []byte) {
		if kept == nil {
			kept = in.keep(b[:in.json.read(b)])
		}
	})
	switch {
	case kept != nil:
		err = kept
	case in.json.ended:
		err = nil
	}
	return end || in.json.ended || err != nil, err
}

// collectFailed adds a chunk to the body of a failed response, and says whether that is
// all of it. What there is of a body that is too large or broken may still tell, and one
// that only begins like JSON is text, which goes on to the end.
func (in *input) collectFailed(chunk []byte, end bool) (done bool) {
	var kept *chat.Error
	err := in.decode(chunk, end, func(b []byte) {
		for len(b) > 0 && kept == nil && !in.json.ended {
			n := in.json.read(b)
			kept = in.keep(b[:n])
			b = b[n:]
			if in.json.ended && jsonx.Valid(in.whole) != nil {
				in.json = document{depth: endless}
			}
		}
	})
	return end || in.json.ended || kept != nil || err != nil
}

// keep adds what there is room for to the whole, wherever the body was cut.
func (in *input) keep(b []byte) *chat.Error {
	fits := min(len(b), in.limit-len(in.whole))
	if !in.room(len(in.whole) + fits) {
		return &chat.Error{
			Status: http.StatusBadGateway, Code: "answer_too_large_now",
			Message: "the answer of the provider is large, and so many large ones are being read that there is no room for it",
		}
	}
	in.whole = append(in.whole, b[:fits]...)
	if fits < len(b) {
		return chat.Malformed("the provider", "it is larger than %d bytes", in.limit)
	}
	return nil
}

// room takes what whole needs of the budget to have so many bytes.
func (in *input) room(bytes int) bool {
	for int64(bytes) > freeAnswer+in.held {
		if !in.budget.take(budgetStep) {
			return false
		}
		in.held += budgetStep
	}
	return true
}

// document finds the end of a JSON object or array, in pieces cut anywhere: with trailers
// after it, no part of a body is said to be the last. Where it ends, text that is no JSON
// may go on.
type document struct {
	depth             int
	text, escape, any bool
	ended             bool
}

// endless is the depth of a body that has no end of its own.
const endless = 1 << 30

// read returns how many of the bytes belong to the document, all as long as its end is not
// among them.
func (d *document) read(b []byte) int {
	if d.ended {
		return 0
	}
	for i, c := range b {
		switch {
		case d.escape:
			d.escape = false
		case d.text:
			d.escape, d.text = c == '\\', c != '"'
		case c == '{' || c == '[':
			d.depth++
			d.any = true
		case c == '"':
			d.text = true
		case c == '}' || c == ']':
			d.depth--
		}
		if d.ended = d.any && d.depth == 0; d.ended {
			return i + 1
		}
	}
	return len(b)
}

func (in *input) close() {
	if in.gzip != nil {
		in.gzip.Close()
	}
	if in.held > 0 {
		in.whole = nil
		in.budget.give(in.held)
		in.held = 0
	}
}

// succeeded says whether an answer with that status is one. Without content there is
// none.
func succeeded(status int) bool {
	return status >= 200 && status < 300 && status != http.StatusNoContent
}

// failedStatus is a failed response's status for the client. A redirect is none of
// the client's business.
func failedStatus(status int) int {
	if status < 400 || status > 599 {
		return http.StatusBadGateway
	}
	return status
}

// failure is the error for a failed response: the provider's own, or what can be
// said without it.
func failure(p provider, status int, m meta, body []byte) *chat.Error {
	e := p.fail(status, m.errorName, body)
	if e == nil {
		e = &chat.Error{Status: status, Message: "the provider answered " + cmp.Or(http.StatusText(status), strconv.Itoa(status))}
		if text := printable(body); text != "" {
			e.Message += ": " + text
		}
	}
	return e
}

// maxQuote bounds what an error quotes of a body that is not the provider's schema, in
// bytes.
const maxQuote = 512

// printable is the start of a body that is no JSON, if it is plain text: pages of
// HTML and binary data help no one.
func printable(body []byte) string {
	s := strings.TrimSpace(clip(string(body[:min(len(body), maxQuote+utf8.UTFMax)]), maxQuote))
	if strings.HasPrefix(s, "<") {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
}
