package openai

import (
	"strings"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/fields"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// content reads a string or a list of parts.
func (r *request) content(v []byte) (parts []chat.Part) {
	if jsonx.KindOf(v) == jsonx.String {
		return []chat.Part{{Kind: chat.Text, Text: r.String(v)}}
	}
	r.Items(v, func(i int, v []byte) {
		p := r.part(v)
		p.At = i
		parts = append(parts, p)
	})
	return parts
}

func (r *request) part(v []byte) chat.Part {
	var p chat.Part
	kind, _ := jsonx.Unquote(fields.Member(v, "type"))
	r.Each(v, func(key, v []byte) {
		switch k := string(key); k {
		case "type":
		case "cache_control":
			p.Cache = r.Cache(v)
		case "prompt_cache_breakpoint":
			// OpenAI keeps for half an hour or longer, others for five minutes or an hour.
			p.Cache = chat.Cache{On: true, TTL: "1h"}
		case kind:
			r.partValue(&p, kind, v)
		default:
			r.q.DropNamed(r.Path())
		}
	})
	switch kind {
	case "text", "refusal":
	case "image_url", "input_audio", "file":
		if p.Media == nil {
			r.Fail("has no %s", kind)
		}
	default:
		r.Refuse("only text, refusal, image_url, input_audio and file can be translated")
	}
	return p
}

func (r *request) partValue(p *chat.Part, kind string, v []byte) {
	switch kind {
	case "text":
		p.Text = r.String(v)
	case "refusal":
		p.Kind, p.Text = chat.Refusal, r.String(v)
	case "image_url":
		p.Kind = chat.Image
		r.Each(v, func(key, v []byte) {
			switch string(key) {
			case "url":
				p.Media = r.mediaURL(v)
			case "detail":
				if r.String(v) != "auto" {
					r.q.DropNamed(r.Path())
				}
			default:
				r.q.DropNamed(r.Path())
			}
		})
	case "input_audio":
		p.Kind = chat.Audio
		p.Media = &chat.Media{}
		r.Each(v, func(key, v []byte) {
			switch string(key) {
			case "data":
				p.Media.Data = r.String(v)
			case "format":
				p.Media.Type = "audio/" + r.String(v)
			default:
				r.q.DropNamed(r.Path())
			}
		})
	case "file":
		r.file(p, v)
	}
}

func (r *request) file(p *chat.Part, v []byte) {
	p.Kind = chat.Document
	name := ""
	r.Each(v, func(key, v []byte) {
		switch string(key) {
		case "file_data":
			p.Media = r.mediaURL(v)
		case "filename":
			name = r.String(v)
		case "file_id":
			r.Refuse("the file is kept by OpenAI, send its data")
		default:
			r.q.DropNamed(r.Path())
		}
	})
	if p.Media == nil {
		return
	}
	p.Media.Name = name
	if strings.HasPrefix(p.Media.Type, "image/") {
		p.Kind = chat.Image
	}
}

// mediaURL reads a URL or a data URI.
func (r *request) mediaURL(v []byte) *chat.Media {
	url := r.String(v)
	rest, ok := strings.CutPrefix(url, "data:")
	if !ok {
		if !strings.HasPrefix(url, "https://") && !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "gs://") {
			r.Fail("must be a URL or a data URI")
		}
		return &chat.Media{URL: url}
	}
	head, data, ok := strings.Cut(rest, ",")
	typ, isBase64 := strings.CutSuffix(head, ";base64")
	if !ok || !isBase64 || typ == "" {
		r.Fail("must be a data URI with a media type and base64")
		return nil
	}
	typ, _, _ = strings.Cut(typ, ";")
	return &chat.Media{Type: strings.ToLower(typ), Data: data}
}
