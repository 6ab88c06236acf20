package aibackend

import (
	"github.com/cespare/xxhash/v2"

	"github.com/fairway-ai/fairway/aibackend/chat"
)

// turned is a request of an API that is not chat, made for a provider of another
// schema. It is never streamed.
type turned struct {
	path    string
	body    []byte
	dropped []string
	// answer appends the client's answer to the provider's. The error is the provider's.
	answer func(dst, body []byte, m meta) ([]byte, chat.Usage, *chat.Error)
}

func newTurned(c *call, p provider, from func(*call) (*turned, *chat.Error)) (*translation, *chat.Error) {
	if c.form != nil {
		return nil, chat.Unsupported("content-type", "a backend of another schema", "only JSON can be translated")
	}
	if c.stream {
		return nil, chat.Unsupported("stream", "a backend of another schema", "the answer comes in one piece")
	}
	q, err := from(c)
	if err != nil {
		return nil, err
	}
	t := &translation{call: c, p: p, q: &chat.Request{Digest: xxhash.Sum64(c.body)}, answer: q.answer}
	t.req = c.request(p, false)
	t.req.Path, t.req.Body, t.req.Dropped = q.path, q.body, q.dropped
	t.req.RemoveHeaders = append(t.req.RemoveHeaders, foreignHeaders[:]...)
	return t, nil
}
