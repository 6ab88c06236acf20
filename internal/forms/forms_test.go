package forms

import (
	"errors"
	"strings"
	"testing"
)

const one = "Content-Disposition: form-data; name=\"model\"\r\n\r\n"

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name, body, want string // want: the model, or "!" and a part of the error
	}{
		{"plain", "--b\r\n" + one + "m-1\r\n--b--\r\n", "m-1"},
		{"no line at the end", "--b\r\n" + one + "m-1\r\n--b--", "m-1"},
		{"blanks behind the boundary", "--b \t\r\n" + one + "m-1\r\n--b--", "m-1"},
		{"line breaks in it", "--b\r\n" + one + "a\r\n\n\rb--\r\n\r\n--b--", "a\r\n\n\rb--\r\n"},
		{"empty", "--b\r\n" + one + "\r\n--b--", ""},
		{"almost a boundary", "--b\r\n" + one + "x\r\n--c\r\n-b\r\n--b--", "x\r\n--c\r\n-b"},
		{"among others", "--b\r\nContent-Disposition: form-data; name=file; filename=\"C:\\a\\ü.wav\"\r\nContent-Type: audio/wav\r\n\r\n\x00\xff\r\n--b\r\n" + one + "m\r\n--b--", "m"},
		{"a file of another name", "--b\r\ncontent-disposition: form-data; name=\"image[]\"; filename*=utf-8''%e2%82%ac\r\n\r\nx\r\n--b\r\n" + one + "m\r\n--b--", "m"},
		{"type and charset", "--b\r\nContent-Type: text/plain; charset=utf-8\r\n" + one + "m\r\n--b--", "m"},

		{"nothing", "", "!ends without"},
		{"cut", "--b\r\n" + one + "m", "!ends without"},
		{"cut in the boundary", "--b\r\n" + one + "m\r\n--b-", "!ends without"},
		{"other boundary", "--c\r\n" + one + "m\r\n--c--", "!does not begin"},
		{"preamble", "hello\r\n--b\r\n" + one + "m\r\n--b--", "!does not begin"},
		{"epilogue", "--b\r\n" + one + "m\r\n--b--\r\n--b\r\n", "!behind the end"},
		{"twice", "--b\r\n" + one + "m\r\n--b\r\n" + one + "n\r\n--b--", "!given twice"},
		{"as a file", "--b\r\nContent-Disposition: form-data; name=model; filename=x\r\n\r\nm\r\n--b--", "!as a file"},
		{"longer boundary", "--b\r\n" + one + "m\r\n--bc\r\n\r\n--b--", "!goes on"},
		{"one dash", "--b\r\n" + one + "m\r\n--b-\r\n", "!goes on"},
		{"lone line feed", "--b\r\n" + one + "m\n--b\r\n" + one + "n\r\n--b--", "!line of its own"},
		{"lone carriage return", "--b\r\n" + one + "m\r--b\r\n" + one + "n\r\n--b--", "!line of its own"},
		{"boundary for content", "--b\r\n" + one + "--b\r\n" + one + "n\r\n--b--", "!line of its own"},
		{"line feeds in the head", "--b\r\nContent-Disposition: form-data; name=x\nContent-Disposition: form-data; name=model\r\n\r\nm\r\n--b--", "!lone line break"},
		{"line feed behind the boundary", "--b\n" + one + "m\r\n--b--", "!goes on"},
		{"folded", "--b\r\nContent-Disposition: form-data;\r\n name=model\r\n\r\nm\r\n--b--", "!no name"},
		{"no head", "--b\r\n\r\nm\r\n\r\n--b--", "!cannot be read"},
		{"no name", "--b\r\nContent-Disposition: form-data\r\n\r\nm\r\n--b--", "!no name"},
		{"no disposition", "--b\r\nContent-Type: text/plain\r\n\r\nm\r\n--b--", "!no name"},
		{"two names", "--b\r\nContent-Disposition: form-data; name=x; name=model\r\n\r\nm\r\n--b--", "!cannot be read"},
		{"two dispositions", "--b\r\nContent-Disposition: form-data; name=x\r\n" + one + "m\r\n--b--", "!two names"},
		{"extended name", "--b\r\nContent-Disposition: form-data; name*=utf-8''model\r\n\r\nm\r\n--b--", "!two ways"},
		{"name in pieces", "--b\r\nContent-Disposition: form-data; name*0=mo; name*1=del\r\n\r\nm\r\n--b--", "!two ways"},
		{"escaped name", "--b\r\nContent-Disposition: form-data; name=\"mod\\el\"\r\n\r\nm\r\n--b--", "!two ways"},
		{"encoded", "--b\r\nContent-Transfer-Encoding: base64\r\n" + one + "bQ==\r\n--b--", "!two ways"},
		{"long head", "--b\r\nx: " + strings.Repeat("y", maxHead) + "\r\n" + one + "m\r\n--b--", "!too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for cut := range len(tt.body) + 1 {
				var r Reader
				r.Reset("b", 100, "user", "model")
				_ = r.Write([]byte(tt.body[:cut]))
				_ = r.Write([]byte(tt.body[cut:]))
				err := r.Finish()
				if want, fails := strings.CutPrefix(tt.want, "!"); fails {
					var e *Error
					if !errors.As(err, &e) || !strings.Contains(e.Msg, want) || e.Offset < 0 || e.Offset > int64(len(tt.body)) {
						t.Fatalf("cut at %d: got %v", cut, err)
					}
					continue
				}
				f := r.Field("model")
				if err != nil || !f.Found || string(f.Value) != tt.want || tt.body[f.Start:f.End] != tt.want || r.Field("user").Found {
					t.Fatalf("cut at %d: %+v, %v", cut, f, err)
				}
			}
		})
	}
}

func TestLimit(t *testing.T) {
	var r Reader
	r.Reset("b", 3, "model")
	_ = r.Write([]byte("--b\r\n" + one + "1234567\r\n--b--"))
	if f := r.Field("model"); r.Finish() != nil || !f.Long || string(f.Value) != "123" {
		t.Errorf("got %+v", f)
	}
}

func TestBoundary(t *testing.T) {
	for contentType, want := range map[string]string{
		"multipart/form-data; boundary=----WebKitFormBoundaryX": "----WebKitFormBoundaryX",
		`Multipart/Form-Data;charset=utf-8;BOUNDARY="a b:c"`:    "a b:c",
		"multipart/form-data":                                      "",
		"multipart/form-data; boundary=":                           "",
		`multipart/form-data; boundary="a\"b"`:                     "",
		"multipart/form-data; boundary=a; boundary=b":              "",
		"multipart/form-data; boundary*=utf-8''a":                  "",
		"multipart/form-data; boundary=" + strings.Repeat("a", 71): "",
	} {
		got, err := Boundary(contentType)
		if got != want || (err == nil) != (want != "") || !Is(contentType) {
			t.Errorf("%s: got %q, %v", contentType, got, err)
		}
	}
	for _, contentType := range []string{"", "multipart/mixed; boundary=x", "application/json"} {
		if Is(contentType) {
			t.Error(contentType)
		}
	}
}
