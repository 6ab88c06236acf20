package extproc

// Answer is a [Change] with which a Picker answers the client itself, as Pick.Change: no
// server gets the request. details are for Envoy's access log, without white space.
func Answer(status int, headers []Header, body []byte, details string) *Change {
	set := make([]Header, 0, len(headers))
	for _, h := range headers {
		if settable(h) {
			set = append(set, h)
		}
	}
	var e encoder
	e.immediateFields(status, set, body, noGRPCStatus, details)
	return &Change{Immediate: e.b, ImmediateStatus: status}
}
