package extproc

import "github.com/fairway-ai/fairway/extproc/observe"

// MetadataTeller is an Observer that has dynamic metadata to tell while a response
// passes, for access logs and rate limits. It is asked, after FirstToken, before each
// message of the response's body is answered, and before its trailers are. u is what the
// model server has reported so far. What it returns is an encoded google.protobuf.Struct
// whose fields are namespaces; nil tells nothing.
type MetadataTeller interface {
	ResponseMetadata(u observe.Usage) []byte
}

// tells reports whether there is somebody to ask for metadata, for which the message at
// hand has to be read before it is answered.
func (st *stream) tells() bool {
	_, ok := st.observer.(MetadataTeller)
	return ok && !st.response.skipped && !st.unanswered()
}

// unanswered reports whether nothing answers the message at hand: an empty part of a
// full duplex body that is not the last.
func (st *stream) unanswered() bool {
	return st.responseMode == modeDuplex && st.in.kind == kindResponseBody && st.in.payload.n == 0 && !st.in.endOfStream
}

// tell is the metadata that goes with the answer to the body or trailers message at hand.
func (st *stream) tell() []byte {
	if !st.tells() {
		return nil
	}
	var u observe.Usage
	switch watch := st.response.watch; {
	case watch == nil:
	case st.in.endOfStream, st.in.kind == kindResponseTrailers:
		u = watch.Usage()
	default:
		u = watch.SoFar()
	}
	return st.observer.(MetadataTeller).ResponseMetadata(u)
}
