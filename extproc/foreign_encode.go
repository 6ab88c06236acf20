package extproc

import "google.golang.org/grpc/mem"

// bytes appends a bytes field.
func (e *encoder) bytes(num int, b []byte) {
	e.tag(num, wireBytes)
	e.varint(uint64(len(b)))
	e.b = append(e.b, b...)
}

// proceedChanged answers a headers or body message with our mutation and the
// foreign picker's, and with its body where withBody. Where Envoy sees a header in
// both, the picker's counts. It takes over c.Body.
func (st *stream) proceedChanged(k kind, m *mutation, c *Change, withBody bool) error {
	e, buf := st.encode()
	// The body's bytes come last, so that they can be sent from where they are.
	e.tail(&mutation{skipResponseBody: m.skipResponseBody})
	e.metadata(m, c)
	if k == kindRequestTrailers || k == kindResponseTrailers {
		c.Body.Free()
		e.close(e.open(int(k) - 1))
		return st.send(e, buf)
	}
	withBody = withBody && c.BodyChanged
	var common encoder // what is small of the CommonResponse
	if c.Replace && withBody {
		common.uint(1, 1)
	}
	if len(m.set)+len(m.remove) > 0 || c.headersChanged() {
		mutation := common.open(2)
		for _, h := range m.set {
			common.setHeader(h)
		}
		for _, option := range c.SetHeaders {
			common.bytes(1, option)
		}
		for _, name := range m.remove {
			common.string(2, name)
		}
		for _, name := range c.RemoveHeaders {
			common.string(2, name)
		}
		common.close(mutation)
	}
	if m.clearRouteCache || c.ClearRouteCache {
		common.uint(5, 1)
	}
	body := c.Body
	if !withBody {
		body.Free()
		body = nil
	}
	n := body.Len()
	if withBody && n == 0 {
		bodyMutation := common.open(3)
		common.uint(2, 1) // clear_body
		common.close(bodyMutation)
	}
	size := len(common.b)
	bodyMutation := 1 + varintLen(uint64(n)) + n
	if n > 0 {
		size += 1 + varintLen(uint64(bodyMutation)) + bodyMutation
	}
	e.tag(int(k)-1, wireBytes) // HeadersResponse or BodyResponse
	if size == 0 {
		e.varint(0)
		return st.send(e, buf)
	}
	e.varint(uint64(1 + varintLen(uint64(size)) + size))
	e.tag(1, wireBytes) // CommonResponse
	e.varint(uint64(size))
	e.b = append(e.b, common.b...)
	if n > 0 {
		e.tag(3, wireBytes) // BodyMutation
		e.varint(uint64(bodyMutation))
		e.tag(1, wireBytes) // body
		e.varint(uint64(n))
	}
	return st.send(e, buf, body...)
}

// metadata encodes what m and c say as dynamic metadata. The fields of both are this
// one message's; the later of two namespaces counts, which is m's.
func (e *encoder) metadata(m *mutation, c *Change) {
	if m.destinations != "" || len(m.metadata)+len(c.Metadata) > 0 {
		metadata := e.open(8)
		if m.destinations != "" {
			e.destinationMetadata(m.destinations, m.scores)
		}
		e.b = append(e.b, c.Metadata...)
		e.b = append(e.b, m.metadata...)
		e.close(metadata)
	}
	for _, entry := range c.TypedMetadata {
		e.bytes(13, entry)
	}
}

// immediateAsIs answers with the picker's own ImmediateResponse and ends the stream.
func (st *stream) immediateAsIs(c *Change) error {
	st.srv.opts.Metrics.Answered(c.ImmediateStatus)
	c.Body.Free()
	e, buf := st.encode()
	e.metadata(&mutation{}, c)
	e.bytes(7, c.Immediate)
	if err := st.send(e, buf); err != nil {
		return err
	}
	return errDone
}

// sendChanged sends a changed body as streamed_response messages, marked at the end
// when endOfStream, with metadata in the last. It takes over body.
func (st *stream) sendChanged(k kind, body mem.BufferSlice, endOfStream bool, metadata []byte) error {
	err := st.sendChunks(k, body, body.Len(), endOfStream, metadata)
	for i, b := range body {
		if b != nil {
			b.Free()
			body[i] = nil
		}
	}
	return err
}
