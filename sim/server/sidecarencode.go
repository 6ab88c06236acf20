package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"

	"golang.org/x/sync/errgroup"
)

// maxEncodings bounds the images of one request that are encoded elsewhere at once.
const maxEncodings = 16

// encodeElsewhere has a chat's images, sounds and films encoded, each by one of the
// servers in turn, and returns what they answered.
func (s *Server) encodeElsewhere(r *http.Request, fields map[string]json.RawMessage, encoders []string) (map[string]json.RawMessage, error) {
	items, err := mediaParts(fields["messages"])
	if err != nil || len(items) == 0 {
		return nil, err
	}
	group, ctx := errgroup.WithContext(r.Context())
	group.SetLimit(maxEncodings)
	var mu sync.Mutex
	params := map[string]json.RawMessage{}
	for i, item := range items {
		group.Go(func() error {
			got, err := s.encodeOne(ctx, r, fields, item, encoders[i%len(encoders)])
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(params, got)
			return err
		})
	}
	return params, group.Wait()
}

func (s *Server) encodeOne(ctx context.Context, r *http.Request, fields map[string]json.RawMessage, item json.RawMessage, host string) (map[string]json.RawMessage, error) {
	sent := oneToken(fields, outputLimits(r.URL.Path))
	sent["messages"] = raw([]any{map[string]any{"role": "user", "content": []json.RawMessage{item}}})
	status, _, body, err := s.callPeer(ctx, r, host, raw(sent))
	if err != nil {
		return nil, err
	}
	if status < 200 || status > 299 {
		return nil, fmt.Errorf("the server that encodes answered with status %d", status)
	}
	var answer struct {
		EC map[string]json.RawMessage `json:"ec_transfer_params"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return nil, errors.New("the server that encodes answered with what is not understood")
	}
	return answer.EC, nil
}

// mediaParts are the parts of messages that are not text, each once.
func mediaParts(messages json.RawMessage) ([]json.RawMessage, error) {
	var list []message
	if json.Unmarshal(messages, &list) != nil {
		return nil, nil // the answering server says what is wrong
	}
	var out []json.RawMessage
	seen := map[string]bool{}
	for _, m := range list {
		var parts []json.RawMessage
		if json.Unmarshal(m.Content, &parts) != nil {
			continue
		}
		for _, raw := range parts {
			var p part
			if json.Unmarshal(raw, &p) != nil || !isMedia(p.Type) {
				continue
			}
			if hash := mediaHash(raw); !seen[hash] {
				seen[hash] = true
				if out = append(out, raw); len(out) > maxMedia {
					return nil, fmt.Errorf("at most %d are supported", maxMedia)
				}
			}
		}
	}
	return out, nil
}

// isMedia reports the types that are encoded.
func isMedia(typ string) bool {
	switch typ {
	case "image_url", "audio_url", "video_url", "input_audio":
		return true
	}
	return false
}
