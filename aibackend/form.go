package aibackend

import (
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/internal/forms"
)

// form is a request of multipart/form-data.
type form struct {
	contentType, boundary string
	model                 forms.Field
}

// peekForm reads what peek reads of a form.
func (c *call) peekForm() *chat.Error {
	f := &form{contentType: c.headers.Get("content-type")}
	boundary, e := forms.Boundary(f.contentType)
	if e != nil {
		return chat.Invalid("body", "%v", e)
	}
	f.boundary = boundary
	var r forms.Reader
	r.Reset(boundary, maxName, "model", "stream")
	if e = r.Write(c.body); e == nil {
		e = r.Finish()
	}
	if e != nil {
		return chat.Invalid("body", "%v", e)
	}
	f.model = *r.Field("model")
	if f.model.Long {
		return chat.Invalid("model", "is longer than %d bytes", maxName)
	}
	c.form, c.model, c.stream = f, string(f.model.Value), string(r.Field("stream").Value) == "true"
	return nil
}

// withModel is the form with another model in it, all else as it is.
func (f *form) withModel(body []byte, model string) ([]byte, *chat.Error) {
	if model == "" || f.model.Found && string(f.model.Value) == model {
		return body, nil
	}
	if strings.ContainsFunc(model, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, chat.Invalid("model", "must be a name")
	}
	if f.model.Found {
		out := make([]byte, 0, len(body)+len(model))
		out = append(append(out, body[:f.model.Start]...), model...)
		return append(out, body[f.model.End:]...), nil
	}
	// The body begins with its boundary.
	part := "--" + f.boundary + "\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n" + model + "\r\n"
	return append(append(make([]byte, 0, len(part)+len(body)), part...), body...), nil
}
