package aibackend

import (
	"net/http"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/inflate"
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

// collect adds a chunk to the whole.
func (in *input) collect(chunk []byte, end bool) (err *chat.Error) {
	over, full := false, false
	err = in.decode(chunk, end, func(b []byte) {
		switch {
		case over || full:
		case len(in.whole)+len(b) > in.limit:
			over = true
		case !in.room(len(in.whole) + len(b)):
			full = true
		default:
			in.whole = append(in.whole, b...)
			in.json.read(b)
		}
	})
	switch {
	case err != nil:
	case over:
		err = chat.Malformed("the provider", "it is larger than %d bytes", in.limit)
	case full:
		err = &chat.Error{
			Status: http.StatusBadGateway, Code: "answer_too_large_now",
			Message: "the answer of the provider is large, and so many large ones are being read that there is no room for it",
		}
	}
	return err
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

// ended says whether what was collected is all there is: at the end of the body, or of
// the object that it is. With trailers after it, no part of a body is said to be the last.
func (in *input) ended(end bool) bool { return end || in.json.ended }

// document finds the end of a JSON object, in pieces cut anywhere.
type document struct {
	depth             int
	text, escape, any bool
	ended             bool
}

func (d *document) read(b []byte) {
	for _, c := range b {
		switch {
		case d.escape:
			d.escape = false
		case d.text:
			d.escape, d.text = c == '\\', c != '"'
		case c == '"':
			d.text = true
		case c == '{' || c == '[':
			d.depth++
			d.any = true
		case c == '}' || c == ']':
			d.depth--
		case !d.any && c > ' ': // no object
			d.depth = 1 << 40
		}
		d.ended = d.any && d.depth == 0
	}
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
		e = &chat.Error{Status: status, Message: "the provider answered " + http.StatusText(status)}
		if text := printable(body); text != "" {
			e.Message += ": " + text
		}
	}
	return e
}

// printable is the start of a body that is no JSON, if it is plain text: pages of
// HTML and binary data help no one.
func printable(body []byte) string {
	s := strings.TrimSpace(string(body[:min(len(body), 512)]))
	if strings.HasPrefix(s, "<") {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0xfffd {
			return ' '
		}
		return r
	}, s)
}
