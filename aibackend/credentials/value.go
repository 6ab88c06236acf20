package credentials

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// maxValue bounds the size of what a Value is read from, in bytes: enough for any
// key, token or service account file.
const maxValue = 64 << 10

// input is one Value of a configuration: what it is used as, and what it must look
// like.
type input struct {
	value Value
	// what names it in messages: "the API key".
	what string
	// check says what is wrong with a value, "" if nothing. It never quotes it.
	check func(string) string
}

// reader reads Values.
type reader struct {
	getenv  func(string) string
	secrets SecretReader
}

// read returns the string, trimmed and checked.
func (r reader) read(in input) (string, *Error) {
	raw, err := r.raw(in)
	if err != nil {
		return "", err
	}
	s := strings.TrimSpace(raw)
	wrong := "it is empty"
	if s != "" {
		wrong = in.check(s)
	}
	if wrong != "" {
		return "", failf(ReasonInvalidSecret, "%s in %s cannot be used: %s", in.what, in.value.describe(), wrong)
	}
	return s, nil
}

func (r reader) raw(in input) (string, *Error) {
	v := in.value
	switch {
	case v.SecretRef != nil:
		return r.secret(in.what, v.SecretRef)
	case v.File != "":
		return readFile(in.what, v.File)
	case v.Env != "":
		s := r.getenv(v.Env)
		if s == "" {
			return "", failf(ReasonSecretNotFound, "%s: the environment variable %s is not set", in.what, v.Env)
		}
		return s, nil
	}
	return v.Literal.Reveal(), nil
}

func (r reader) secret(what string, ref *SecretRef) (string, *Error) {
	if r.secrets == nil {
		return "", failf(ReasonSecretNotFound, "%s: Secrets cannot be read here", what)
	}
	data, err := r.secrets.ReadSecret(ref.Namespace, ref.Name)
	if err != nil {
		return "", failf(ReasonSecretNotFound, "%s: Secret %s/%s: %s", what, ref.Namespace, ref.Name, err)
	}
	if data == nil {
		return "", failf(ReasonSecretNotFound, "%s: Secret %s/%s does not exist; create it, with the entry %q", what, ref.Namespace, ref.Name, ref.Key)
	}
	b, ok := data[ref.Key]
	if !ok {
		return "", failf(ReasonSecretNotFound, "%s: Secret %s/%s has no entry %q", what, ref.Namespace, ref.Name, ref.Key)
	}
	if len(b) > maxValue {
		return "", failf(ReasonInvalidSecret, "%s: the entry %q of Secret %s/%s is longer than %d bytes", what, ref.Key, ref.Namespace, ref.Name, maxValue)
	}
	return string(b), nil
}

// readFile reads a regular file, whose end a pipe or a device may never reach.
func readFile(what, path string) (string, *Error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return "", failf(ReasonSecretNotFound, "%s: %q is not a regular file", what, path)
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(path)
	}
	if err != nil {
		return "", failf(ReasonSecretNotFound, "%s: the file %q %s", what, path, fileTrouble(err))
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxValue+1))
	if err != nil {
		return "", failf(ReasonSecretNotFound, "%s: the file %q %s", what, path, fileTrouble(err))
	}
	if len(b) > maxValue {
		return "", failf(ReasonInvalidSecret, "%s: the file %q is longer than %d bytes", what, path, maxValue)
	}
	return string(b), nil
}

func fileTrouble(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read by this process"
	}
	return "cannot be read"
}

func (v Value) describe() string {
	switch {
	case v.SecretRef != nil:
		return fmt.Sprintf("entry %q of Secret %s/%s", v.SecretRef.Key, v.SecretRef.Namespace, v.SecretRef.Name)
	case v.File != "":
		return fmt.Sprintf("file %q", v.File)
	case v.Env != "":
		return "environment variable " + v.Env
	}
	return "the configuration"
}

// problem says what is wrong with the choice of a source.
func (v Value) problem() string {
	n := 0
	for _, set := range []bool{!v.Literal.IsEmpty(), v.File != "", v.Env != "", v.SecretRef != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fmt.Sprintf("needs exactly one of a literal, a file, a variable or a Secret, and has %d", n)
	}
	if r := v.SecretRef; r != nil && (r.Name == "" || r.Key == "") {
		return "names a Secret without its name or entry"
	}
	return ""
}

// anyText accepts what the reader of the value will check itself.
func anyText(string) string { return "" }

// keyText accepts what can be a key in a header: visible ASCII without blanks. It
// knows the usual slips of copying.
func keyText(s string) string {
	if q := s[0]; len(s) > 1 && (q == '"' || q == '\'') && s[len(s)-1] == q {
		return "it is in quotes; store it without them"
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ' ' || c == '\t':
			return "it contains a blank; store the key alone, without a scheme such as Bearer"
		case c == '\n' || c == '\r':
			return "it has several lines"
		case c < ' ' || c > 0x7e:
			return "it contains a character that cannot be in a header"
		}
	}
	return ""
}
