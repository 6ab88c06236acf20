package gemini

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/fairway-ai/fairway/aibackend/chat"
	"github.com/fairway-ai/fairway/aibackend/internal/jsonx"
)

// Imagen is a request for the method predict of an Imagen model.
type Imagen struct {
	Prompt string
	// N is how many images are wanted, nil for one.
	N *int64
	// Aspect is one of Aspect's answers.
	Aspect string
	// MIMEType is image/png or image/jpeg, "" for the model's own. Quality is jpeg's, in
	// percent.
	MIMEType string
	Quality  *int64
}

// ownSizes are what Imagen makes where a shape is no exact ratio.
var ownSizes = map[string]string{
	"896x1280": "3:4", "1280x896": "4:3", "768x1408": "9:16", "1408x768": "16:9",
	"1792x2560": "3:4", "2560x1792": "4:3", "1536x2816": "9:16", "2816x1536": "16:9",
}

// Aspect is Imagen's shape for images of a size in pixels, "" for its own where there
// is none. It reports false where Imagen has no such shape.
func Aspect(width, height int) (string, bool) {
	if width == 0 {
		return "", true
	}
	if s, ok := ownSizes[strconv.Itoa(width)+"x"+strconv.Itoa(height)]; ok {
		return s, true
	}
	for _, a := range [...]struct {
		w, h int
		name string
	}{{1, 1, "1:1"}, {3, 4, "3:4"}, {4, 3, "4:3"}, {9, 16, "9:16"}, {16, 9, "16:9"}} {
		if width*a.h == height*a.w {
			return a.name, true
		}
	}
	return "", false
}

// AppendImagen writes the request.
func AppendImagen(dst []byte, q *Imagen) []byte {
	w := jsonx.Writer{B: dst}
	w.Open()
	w.OpenArrayKey("instances")
	w.Open()
	w.String("prompt", q.Prompt)
	w.Close()
	w.CloseArray()
	w.OpenKey("parameters")
	n := int64(1)
	if q.N != nil {
		n = *q.N
	}
	w.Int("sampleCount", n)
	w.Text("aspectRatio", q.Aspect)
	w.Bool("includeRaiReason", true)
	if q.MIMEType != "" || q.Quality != nil {
		w.OpenKey("outputOptions")
		w.Text("mimeType", q.MIMEType)
		w.IntPtr("compressionQuality", q.Quality)
		w.Close()
	}
	w.Close()
	w.Close()
	return w.B
}

// ParseImagen reads the answer: images in base64. An answer of which the filter left
// nothing is an error.
func ParseImagen(body []byte) ([]string, *chat.Error) {
	var w struct {
		Predictions []struct {
			Image  string `json:"bytesBase64Encoded"`
			Reason string `json:"raiFilteredReason"`
		} `json:"predictions"`
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return nil, chat.Malformed(provider, "%v", err)
	}
	var images []string
	why := "the provider's filter left no image"
	for _, p := range w.Predictions {
		if p.Image != "" {
			images = append(images, p.Image)
		} else if p.Reason != "" {
			why = p.Reason
		}
	}
	if len(images) == 0 {
		return nil, &chat.Error{Status: http.StatusBadRequest, Code: "content_policy_violation", Message: why}
	}
	return images, nil
}
