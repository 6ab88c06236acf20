package scan

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"testing"
)

// form writes a form as Go's own writer does, with a file of the given bytes first.
func form(t testing.TB, file []byte, fields ...string) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	part, err := w.CreateFormFile("file", "sound \"1\".wav")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(file); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		if err := w.WriteField(fields[i], fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.Bytes()
}

func scanForm(s *Scanner, api API, contentType string, body []byte, cuts ...int) (*Result, error) {
	s.Reset(api)
	if err := s.ContentType(contentType); err != nil {
		return nil, err
	}
	last := 0
	for _, c := range append(cuts, len(body)) {
		chunk := bytes.Clone(body[last:c])
		err := s.Write(chunk)
		clear(chunk)
		if err != nil {
			break
		}
		last = c
	}
	return s.Finish()
}

func TestForms(t *testing.T) {
	noise := []byte("RIFF\r\n--\r\r\n\n--x\r\n\x00\xff\r\n--")
	contentType, body := form(t, noise, "model", "whisper-1", "stream", "true", "user", "u-1", "prompt", "model")
	s := New(Options{})
	for _, api := range []API{ImageEdits, ImageVariations, Transcriptions, Translations} {
		for cut := range len(body) {
			got, err := scanForm(s, api, contentType, body, cut)
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			if got.Model != "whisper-1" || !got.Stream || got.User != "u-1" || got.API != api || !got.Form || got.PromptBytes != 0 ||
				string(body[got.ModelStart:got.ModelEnd]) != "whisper-1" {
				t.Fatalf("cut at %d: %+v", cut, got)
			}
		}
	}
	got, err := scanForm(s, ImageEdits, "application/json", []byte(`{"model":"m","stream":true}`))
	if err != nil || got.Model != "m" || got.Form {
		t.Errorf("JSON for an API that has forms: %+v, %v", got, err)
	}
	if _, err := scanForm(s, ChatCompletions, contentType, body); err == nil {
		t.Error("a form for chat is read")
	}
	contentType, body = form(t, noise)
	if got, err := scanForm(s, ImageVariations, contentType, body); err != nil || got.Model != "" || got.ModelEnd != 0 {
		t.Errorf("no model: %+v, %v", got, err)
	}
}

func TestFormErrors(t *testing.T) {
	s := New(Options{MaxField: 5})
	for _, tt := range []struct{ contentType, field, value, want string }{
		{"", "model", "123456", "model"},
		{"", "user", "123456", "user"},
		{"", "model", "a\xff", "model"},
		{"multipart/form-data", "model", "m", "body"},
		{"multipart/form-data; boundary=other", "model", "m", "body"},
	} {
		contentType, body := form(t, nil, tt.field, tt.value)
		if tt.contentType != "" {
			contentType = tt.contentType
		}
		_, err := scanForm(s, Transcriptions, contentType, body)
		var fieldErr *FieldError
		if !errors.As(err, &fieldErr) || fieldErr.Field != tt.want {
			t.Errorf("%v: got %v", tt, err)
		}
	}
}

// TestFormsAreNotKept scans a large file in chunks, without an allocation.
func TestFormsAreNotKept(t *testing.T) {
	contentType, body := form(t, bytes.Repeat([]byte("line\r\n--"), 1<<17), "model", "m")
	s := New(Options{})
	s.Reset(Transcriptions)
	if err := s.ContentType(contentType); err != nil {
		t.Fatal(err)
	}
	head := strings.Index(string(body), "line")
	if err := s.Write(body[:head]); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(5, func() {
		if err := s.Write(body[head : head+1<<17]); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzForm compares what is read of a form with what Go's own reader reads.
func FuzzForm(f *testing.F) {
	contentType, body := form(f, []byte("RIFF\r\n\r\n--x"), "model", "whisper-1", "stream", "true")
	f.Add(contentType, body, uint16(40))
	f.Add("multipart/form-data; boundary=x", []byte("--x\r\nContent-Disposition: form-data; name=model\r\n\r\nm\r\n--x--"), uint16(9))
	f.Add("multipart/form-data; boundary=x", []byte("--x \r\ncontent-disposition: form-data; name=\"user\"; filename*=utf-8''a\r\n\r\n\r\n--x--\r\n"), uint16(9))
	s := New(Options{})
	f.Fuzz(func(t *testing.T, contentType string, body []byte, cut uint16) {
		got, err := scanForm(s, Transcriptions, contentType, body, int(cut)%(len(body)+1))
		if err != nil || !got.Form {
			return
		}
		first := *got
		if got, err = scanForm(s, Transcriptions, contentType, body); err != nil || got.Model != first.Model || got.ModelStart != first.ModelStart || got.ModelEnd != first.ModelEnd {
			t.Fatalf("cut at %d: %+v, whole: %+v, %v", cut, first, got, err)
		}
		model, stream := oracleForm(t, contentType, body)
		if got.Model != model || got.Stream != (stream == "true") {
			t.Fatalf("got %q %t, want %q %q", got.Model, got.Stream, model, stream)
		}
		if model != "" && string(body[got.ModelStart:got.ModelEnd]) != model {
			t.Fatalf("the model is not at [%d,%d)", got.ModelStart, got.ModelEnd)
		}
	})
}

func oracleForm(t *testing.T, contentType string, body []byte) (model, stream string) {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatal(err)
	}
	r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		part, err := r.NextPart()
		if err == io.EOF {
			return model, stream
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		switch part.FormName() {
		case "model":
			model = string(b)
		case "stream":
			stream = string(b)
		}
	}
}
