package relay

import "google.golang.org/protobuf/types/known/structpb"

// shallow reports whether a value is nested no deeper than Envoy's protobuf library
// can read it, with room for the messages around it.
func shallow(v *structpb.Value, depth int) bool {
	if depth == 0 {
		return false
	}
	switch k := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		for _, f := range k.StructValue.GetFields() {
			if !shallow(f, depth-1) {
				return false
			}
		}
	case *structpb.Value_ListValue:
		for _, e := range k.ListValue.GetValues() {
			if !shallow(e, depth-1) {
				return false
			}
		}
	}
	return true
}

// validHeader reports whether Envoy takes a header with this name and value.
func validHeader(name, value string) bool {
	if name == "" || len(name) > maxHeaderBytes {
		return false
	}
	for i := range len(name) {
		// A token of HTTP, or a pseudo-header.
		if c := name[i]; !token(c) && (c != ':' || i > 0) {
			return false
		}
	}
	for i := range len(value) {
		if c := value[i]; c == '\r' || c == '\n' || c == 0 {
			return false
		}
	}
	return true
}

func token(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	for _, t := range []byte("!#$%&'*+-.^_`|~") {
		if c == t {
			return true
		}
	}
	return false
}
