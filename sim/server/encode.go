package server

import (
	"container/list"
	"encoding/json"
	"net/http"
)

// maxEncoded bounds the images that a server remembers as encoded.
const maxEncoded = 1024

// encodedBytes is the size that an encoded image is said to have.
const encodedBytes = mediaTokens * 4096 * 2

// encoderCache remembers which images were encoded, the least recently used goes
// first. Its owner guards it.
type encoderCache struct {
	byHash map[string]*list.Element
	order  list.List // of hashes
	// queries and hits are images looked for and found.
	queries, hits int64
}

// missing counts the images that have to be encoded, and remembers all of them. Those
// in elsewhere were encoded by another server.
func (c *encoderCache) missing(all []media, elsewhere map[string]json.RawMessage) (n int) {
	for _, m := range all {
		c.queries++
		e := c.byHash[m.hash]
		if e != nil {
			c.hits++
			c.order.MoveToBack(e)
			continue
		}
		if _, ok := elsewhere[m.hash]; !ok {
			n++
		}
		if c.order.Len() >= maxEncoded {
			delete(c.byHash, c.order.Remove(c.order.Front()).(string))
		}
		c.byHash[m.hash] = c.order.PushBack(m.hash)
	}
	return n
}

// encoded returns a job's ec_transfer_params: where each of its images can be fetched.
func (s *Server) encoded(r *http.Request, j *job) any {
	host, port := s.reachedAt(r)
	out := map[string]any{}
	for _, a := range j.answers {
		for _, m := range a.prompt.media {
			out[m.hash] = map[string]any{"peer_host": host, "peer_port": port, "size_bytes": encodedBytes}
		}
	}
	return out
}
