package extproc

import "github.com/fairway-ai/fairway/extproc/observe"

// MetadataTeller is an Observer that has dynamic metadata to tell while a response
// passes, for access logs and rate limits. It is asked, after FirstToken, before each
// message of the response's body is answered. u is what the model server has reported so
// far. What it returns is an encoded google.protobuf.Struct whose fields are namespaces;
// nil tells nothing.
//
// Where bodies are FULL_DUPLEX_STREAMED, which carry no metadata, nobody is asked.
type MetadataTeller interface {
	ResponseMetadata(u observe.Usage) []byte
}

// tells reports whether there is somebody to ask for metadata, for which the message at
// hand has to be read before it is answered.
func (st *stream) tells() bool {
	_, ok := st.observer.(MetadataTeller)
	return ok && !st.response.skipped && st.responseMode != modeDuplex
}

// tell is the metadata that goes with the answer to the body message at hand.
func (st *stream) tell() []byte {
	if !st.tells() {
		return nil
	}
	var u observe.Usage
	switch watch := st.response.watch; {
	case watch == nil:
	case st.in.endOfStream:
		u = watch.Usage()
	default:
		u = watch.SoFar()
	}
	return st.observer.(MetadataTeller).ResponseMetadata(u)
}
