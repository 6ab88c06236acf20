package scan

import (
	"unicode/utf8"

	"github.com/fairway-ai/fairway/internal/forms"
)

// ContentType tells, between Reset and the first Write, the body's content-type: of
// the APIs whose requests may be forms, it decides. The error is a *FieldError.
func (s *Scanner) ContentType(v string) error {
	if !apis[s.api].form || !forms.Is(v) {
		return nil
	}
	boundary, err := forms.Boundary(v)
	if err != nil {
		return formError(err)
	}
	s.isForm, s.res.Form = true, true
	s.form.Reset(boundary, s.opts.MaxField, "model", "stream", "user")
	return nil
}

// formError is the error for a client whose form cannot be read.
func formError(err error) error {
	if err == nil {
		return nil
	}
	return &FieldError{Field: "body", Msg: err.Error()}
}

// finishForm ends a form.
func (s *Scanner) finishForm() (*Result, error) {
	if err := s.form.Finish(); err != nil {
		return nil, formError(err)
	}
	model, user := s.form.Field("model"), s.form.Field("user")
	for _, f := range []*forms.Field{model, user} {
		c := &s.model
		if f == user {
			c = &s.user
		}
		switch {
		case !f.Found || len(f.Value) == 0 && !f.Long:
			continue
		case f.Long:
			c.kind = captureTooLong
			continue
		case !utf8.Valid(f.Value):
			return nil, &FieldError{Field: f.Name, Msg: "must be valid UTF-8"}
		}
		c.kind, c.n = captureText, copy(c.buf, f.Value)
	}
	var err error
	if s.res.Model, err = s.model.text("model"); err != nil {
		return nil, err
	}
	if s.res.User, err = s.user.text("user"); err != nil {
		return nil, err
	}
	if s.res.Model != "" {
		s.res.ModelStart, s.res.ModelEnd = model.Start, model.End
	}
	s.res.Stream = string(s.form.Field("stream").Value) == "true"
	s.chain()
	return &s.res, nil
}
