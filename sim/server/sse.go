package server

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// sse writes server-sent events into a buffer, and the buffer to the client.
type sse struct {
	w   http.ResponseWriter
	rc  *http.ResponseController
	buf []byte
}

// newSSE sends the headers at once, as vLLM does: the first token comes later.
func newSSE(w http.ResponseWriter) *sse {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	s := &sse{w: w, rc: http.NewResponseController(w)}
	_ = s.rc.Flush() // an error comes again with the first write
	return s
}

func (s *sse) flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	_, err := s.w.Write(s.buf)
	s.buf = s.buf[:0]
	if err != nil {
		return err
	}
	return s.rc.Flush()
}

// data adds an unnamed event whose JSON is the parts put together.
func (s *sse) data(parts ...string) {
	s.buf = append(s.buf, "data: "...)
	for _, p := range parts {
		s.buf = append(s.buf, p...)
	}
	s.buf = append(s.buf, "\n\n"...)
}

// event adds a named event.
func (s *sse) event(name string, parts ...string) {
	s.buf = append(s.buf, "event: "...)
	s.buf = append(s.buf, name...)
	s.buf = append(s.buf, '\n')
	s.data(parts...)
}

// quote is a string in JSON.
func quote(s string) string { return encode(s) }

// encode is a value of this package in JSON; those always can be.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "null"
	}
	return string(b)
}

func itoa(n int) string { return strconv.Itoa(n) }
