package egress

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/mem"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/extproc"
)

// ResponseHeaders implements extproc.Exchange.
func (t *try) ResponseHeaders(h extproc.Head, _ func(time.Duration) error) extproc.Change {
	if t.exchange == nil {
		return extproc.Change{}
	}
	t.status, _ = strconv.Atoi(getter(h.Headers).Get(":status"))
	t.note(getter(h.Headers))
	head := t.exchange.Response(t.status, getter(h.Headers))
	var c extproc.Change
	c.RemoveHeaders = append(c.RemoveHeaders, head.Remove...)
	for _, name := range providersOwn {
		if getter(h.Headers).index(name) >= 0 {
			c.RemoveHeaders = append(c.RemoveHeaders, name)
		}
	}
	set := func(name, value string) { c.SetHeaders = append(c.SetHeaders, encoded(name, value, false)) }
	if head.Status != t.status && head.Status != 0 {
		set(":status", strconv.Itoa(head.Status))
	}
	for _, h := range head.Set {
		set(h.Name, h.Value)
	}
	set(BackendHeader, t.name)
	if len(t.dropped) > 0 {
		set(DroppedHeader, strings.Join(t.dropped, ", "))
	}
	if h.End { // no body message follows in which the client could be told why
		out, err := t.read(nil, true)
		if err != nil && head.Buffered {
			set(":status", strconv.Itoa(err.Status))
		}
		if len(out) > 0 {
			c.Replace, c.BodyChanged, c.Body = true, true, mem.BufferSlice{mem.SliceBuffer(slices.Clone(out))}
		}
	}
	t.promised = head.Buffered && head.Status < 400
	return c
}

// note tells what an answer says of its backend.
func (t *try) note(h getter) {
	if c := t.of.Cooling; c != nil {
		c.Note(t.name, t.status, h.Get)
	}
	if tries := t.of.Tries; tries != nil && (t.status == 429 || t.status >= 500) {
		tries.Answered(t.id(), t.name, t.status)
	}
}

// read gives the exchange a piece of the answer and returns what the client gets.
func (t *try) read(chunk []byte, end bool) ([]byte, *aibackend.Error) {
	out, err := t.exchange.Body(chunk, end)
	if err != nil {
		t.failed = true
		t.errorCode = clip(cmp.Or(err.Cause.Code, err.Cause.Type, strconv.Itoa(err.Cause.Status)))
		t.of.log().Warn("a provider's answer is an error", "backend", t.name, "status", t.status, "code", err.Cause.Code)
	}
	return out, err
}

// maxSurplus bounds what is read of an answer after the client was told that it is an
// error, in bytes.
const maxSurplus = 1 << 20

// ResponseBody implements extproc.Exchange.
func (t *try) ResponseBody(part mem.BufferSlice, end, _ bool, _ func(time.Duration) error) extproc.Change {
	if t.exchange == nil {
		return extproc.Change{BodyChanged: true, Body: part}
	}
	if t.firstByte.IsZero() && part.Len() > 0 {
		t.firstByte = t.of.now()
	}
	if t.failed {
		t.surplus += part.Len()
	}
	var out []byte
	var failure *aibackend.Error
	read := func(chunk []byte, end bool) {
		b, err := t.read(chunk, end)
		out, failure = append(out, b...), cmp.Or(failure, err)
	}
	for i, b := range part {
		read(b.ReadOnlyData(), end && i == len(part)-1)
	}
	if end && len(part) == 0 {
		read(nil, true)
	}
	part.Free()
	// An error after the headers of a success would be taken for the answer. So the
	// response is broken off: what has reached the client of it is at most its headers,
	// and mostly nothing, so that it is told by its status, too.
	switch {
	case failure != nil && t.promised:
		return t.immediate(failure.Status, failure.Body)
	case t.surplus > maxSurplus:
		return t.immediate(http.StatusBadGateway, nil)
	}
	return extproc.Change{BodyChanged: true, Body: mem.BufferSlice{mem.SliceBuffer(out)}, Metadata: t.tell()}
}
