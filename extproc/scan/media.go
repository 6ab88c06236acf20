package scan

import "bytes"

// frame is what is known of an open object or array.
type frame struct {
	under keyID // the key it is the value of, keyNone in an array
	array bool
	text  bool // a source whose type is "text"
}

// keyID is a key in a prompt that matters for telling media from text.
type keyID uint8

const (
	keyNone keyID = iota
	keyType
	keyURL
	keyData
	keyFileData
	keyMediaURL // image_url, audio_url, video_url, file_url
	keySource
	keyInputAudio
	keyFile
)

func keyOf(key []byte) keyID {
	switch string(key) {
	case "type":
		return keyType
	case "url":
		return keyURL
	case "data":
		return keyData
	case "file_data":
		return keyFileData
	case "image_url", "audio_url", "video_url", "file_url":
		return keyMediaURL
	case "source":
		return keySource
	case "input_audio":
		return keyInputAudio
	case "file":
		return keyFile
	}
	return keyNone
}

// rule is how to tell whether a string is media; the package comment has them.
type rule uint8

const (
	ruleText   rule = iota // it is not
	ruleType               // it is not, and its text matters for its object
	rulePrefix             // it is when it starts like a URL
	ruleAlways             // it is when it is not empty
)

// mediaRule is the rule for the string that is the value of s.key.
func (s *Scanner) mediaRule() rule {
	if s.key == keyNone || s.prompt == &s.tools {
		return ruleText
	}
	in := &s.frames[s.lex.Depth()]
	switch s.key {
	case keyType:
		if in.under == keySource {
			return ruleType
		}
	case keyFileData:
		return ruleAlways
	case keyData:
		if in.under == keyInputAudio || in.under == keySource && !in.text {
			return ruleAlways
		}
	case keyMediaURL:
		return rulePrefix
	case keyURL:
		if in.under == keyMediaURL || in.under == keySource || in.under == keyFile {
			return rulePrefix
		}
	}
	return ruleText
}

// mediaPrefix is the length of the longest prefix that isMedia looks for.
const mediaPrefix = len("https://")

func isMedia(head []byte) bool {
	return bytes.HasPrefix(head, []byte("data:")) ||
		bytes.HasPrefix(head, []byte("http://")) ||
		bytes.HasPrefix(head, []byte("https://"))
}
