package extproc

import (
	"context"
	"testing"
)

// A Picker may answer the client itself, in every arrangement of bodies.
func TestAnswerOfThePicker(t *testing.T) {
	h := newHarness(t, Options{})
	h.picker.pick = func(context.Context, *Request) (Pick, error) {
		return Pick{Change: Answer(200, []Header{{"content-type", "text/plain"}, {"x-broken", "a\nb"}}, []byte("hello"), "details")}, nil
	}
	for _, mode := range []string{"buffered", "duplex"} {
		c := h.open()
		var m *resp
		if mode == "buffered" {
			c.ask(post(chat, buffered, streamed))
			m = c.ask(reqBody(chatBody, true))
		} else {
			c.send(post(chat, duplex, duplex), reqBody(chatBody, true))
			m = c.recv()
		}
		a := m.GetImmediateResponse()
		if a.GetStatus().GetCode() != 200 || string(a.GetBody()) != "hello" || a.GetDetails() != "details" || len(a.GetHeaders().GetSetHeaders()) != 1 {
			t.Errorf("%s: answered %v", mode, m)
		}
		c.finish()
	}
}
