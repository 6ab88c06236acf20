package scan

import "github.com/fairway-ai/fairway/extproc/internal/grpcwire"

// place is a message or field of a gRPC request that is read.
type place uint8

const (
	placeNone place = iota

	// The requests.
	vertexRequest // of all of Vertex AI's calls
	vllmGenerate
	vllmEmbed
	sglangText
	sglangIDs
	sglangTextEmbed
	sglangIDsEmbed
	sglangJSON // of the calls that have OpenAI's JSON
	schedulerGenerate
	schedulerEmbed

	// Messages in them.
	httpBody
	tokenized
	sampling
	vllmMedia
	schedulerMedia
	placeholder
	mediaRefs
	mediaRef

	// Fields.
	placeJSON
	placeText
	placeIDs
	placeAdapter
	placeMedia
)

// field is the place of a field that has a length, placeNone for one of no interest.
func (p place) field(num grpcwire.Number) place {
	switch p {
	case vertexRequest:
		return either(num == 2, httpBody)
	case httpBody:
		return either(num == 2, placeJSON)
	case vllmGenerate:
		switch num {
		case 2:
			return tokenized
		case 3:
			return placeText
		case 4:
			return sampling
		case 7, 11:
			return vllmMedia
		case 10:
			return mediaRefs
		}
	case vllmEmbed:
		return either(num == 2, tokenized)
	case tokenized:
		return either(num == 2, placeIDs)
	case vllmMedia:
		switch num {
		case 5:
			return placeholder
		case 6:
			return placeMedia
		}
	case mediaRefs:
		return either(num == 1, mediaRef)
	case mediaRef:
		return either(num == 2, placeMedia)
	case sglangText, sglangIDs:
		adapter := grpcwire.Number(9)
		content := placeText
		if p == sglangIDs {
			adapter, content = 8, placeIDs
		}
		switch num {
		case 1:
			return content
		case 2:
			return sampling
		case adapter:
			return placeAdapter
		}
	case sglangTextEmbed:
		return either(num == 1, placeText)
	case sglangIDsEmbed:
		return either(num == 1, placeIDs)
	case sglangJSON:
		return either(num == 1, placeJSON)
	case schedulerGenerate:
		switch num {
		case 2:
			return tokenized
		case 3:
			return schedulerMedia
		case 4:
			return sampling
		case 15:
			return placeAdapter
		}
	case schedulerEmbed:
		switch num {
		case 2:
			return tokenized
		case 4:
			return schedulerMedia
		}
	case schedulerMedia:
		switch num {
		case 1, 2, 3, 5, 6, 7:
			return placeMedia
		case 11:
			return placeholder
		}
	}
	return placeNone
}

func either(is bool, p place) place {
	if is {
		return p
	}
	return placeNone
}

// hasID reports whether a field that is a number is a token id: one that is not packed.
func (p place) hasID(num grpcwire.Number) bool {
	switch p {
	case placeIDs:
		return true
	case tokenized:
		return num == 2
	case sglangIDs, sglangIDsEmbed:
		return num == 1
	}
	return false
}

// maxOutput is the field of sampling parameters with the bound on output tokens, in all
// of these protocols.
const maxOutput = 8
