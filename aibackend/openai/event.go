package openai

import (
	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// ReadEvent reads the data of one event in a stream of any API but chat: the usage
// and the model told in it, at the top or in the whole response that it carries, and the
// failure it tells of. All are zero for anything else, broken data included. The model is
// JSON, and a part of data.
func ReadEvent(data []byte) (u chat.Usage, model []byte, failure *chat.Error) {
	if len(data) == 0 || data[0] != '{' || jsonx.Valid(data) != nil {
		return u, nil, nil
	}
	failed := failsIn(data, &u, &model)
	if kind, response := eventOf(data); kind == "error" {
		failed = data
	} else if response != nil && failed == nil {
		failed = failsIn(response, &u, &model)
	}
	if failed == nil {
		return u, model, nil
	}
	if failure = ParseError(0, failed); failure == nil {
		failure = &chat.Error{Message: "the provider failed without saying why"}
	}
	failure.Status = StatusOf(failure)
	return u, model, failure
}

// failsIn takes the usage and the model of an object and returns the object if it has an
// error.
func failsIn(v []byte, u *chat.Usage, model *[]byte) (failed []byte) {
	_, _ = jsonx.Each(v, func(key, m []byte) error {
		switch {
		case string(key) == "usage" && jsonx.KindOf(m) == jsonx.Object:
			*u = ParseUsage(m)
		case string(key) == "model":
			*model = m
		case string(key) == "error" && string(m) != "null":
			failed = v
		}
		return nil
	})
	return failed
}

// eventOf is the kind of an event of a newer API, and the response in it.
func eventOf(data []byte) (kind string, response []byte) {
	_, _ = jsonx.Each(data, func(key, v []byte) error {
		switch string(key) {
		case "type":
			kind, _ = jsonx.Unquote(v)
		case "response":
			if jsonx.KindOf(v) == jsonx.Object {
				response = v
			}
		}
		return nil
	})
	return kind, response
}
