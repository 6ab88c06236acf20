package openai

import (
	"strconv"
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// Images is a request to make images.
type Images struct {
	Prompt string
	// N is how many, nil for one.
	N *int64
	// Width and Height are in pixels, 0 where the client leaves them to the model.
	Width, Height int
	// Format is png, jpeg or webp, "" for the model's own.
	Format string
	// Compression is jpeg's quality in percent, nil for the usual one.
	Compression *int64
	Dropped     []string
}

// ParseImages reads a request for a provider of another schema. body must be valid
// JSON.
func ParseImages(body []byte) (*Images, *chat.Error) {
	q := &Images{}
	var dropped chat.Request
	var r fields.Reader
	r.Each(body, func(key, v []byte) {
		switch string(key) {
		case "prompt":
			q.Prompt = r.String(v)
		case "n":
			q.N = r.IntPtr(v)
		case "size":
			if s := r.String(v); s != "auto" {
				w, h, _ := strings.Cut(s, "x")
				var e1, e2 error
				q.Width, e1 = strconv.Atoi(w)
				q.Height, e2 = strconv.Atoi(h)
				if e1 != nil || e2 != nil || q.Width < 1 || q.Height < 1 || q.Width > 1<<16 || q.Height > 1<<16 {
					r.Fail("must be auto, or as in 1024x1024")
				}
			}
		case "response_format":
			if r.String(v) != "b64_json" {
				r.Refuse("images come in the answer; ask for b64_json")
			}
		case "output_format":
			if q.Format = r.String(v); q.Format != "png" && q.Format != "jpeg" {
				r.Refuse("there are png and jpeg")
			}
		case "output_compression":
			q.Compression = r.IntPtr(v)
		case "background":
			if r.String(v) == "transparent" {
				r.Refuse("there are no transparent images")
			}
			dropped.DropNamed("background")
		case "model", "stream":
		default: // quality, style, moderation, user and the like
			dropped.DropNamed(string(key))
		}
	})
	if r.Err != nil {
		return nil, r.Err
	}
	if q.Prompt == "" {
		return nil, chat.Invalid("prompt", "must be given")
	}
	q.Dropped = dropped.Dropped
	return q, nil
}

// AppendImages writes the answer: images in base64, made at a time in seconds since
// 1970.
func AppendImages(dst []byte, images []string, created int64) []byte {
	w := jsonx.Writer{B: dst}
	w.Open()
	w.Int("created", created)
	w.OpenArrayKey("data")
	for _, image := range images {
		w.Open()
		w.String("b64_json", image)
		w.Close()
	}
	w.CloseArray()
	w.Close()
	return w.B
}
