package zmtp

import "encoding/binary"

// Write sends one message in one write. A deadline is the caller's to set on the
// connection that was given to [Handshake].
func (c *Conn) Write(frames ...[]byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = AppendMessage(c.out[:0], frames...)
	_, err := c.nc.Write(c.out)
	if cap(c.out) > keptBuffer {
		c.out = nil
	}
	return err
}

// Subscribe asks a publisher for the topics that begin with prefix.
func (c *Conn) Subscribe(prefix string) error { return c.Write(append([]byte{1}, prefix...)) }

// Subscription reads a subscriber's message: a prefix, and whether it is wanted
// or not wanted any more.
func Subscription(frame []byte) (prefix []byte, wanted, ok bool) {
	if len(frame) == 0 || frame[0] > 1 {
		return nil, false, false
	}
	return frame[1:], frame[0] == 1, true
}

// AppendMessage appends a message's bytes as they are on the wire.
func AppendMessage(b []byte, frames ...[]byte) []byte {
	for i, f := range frames {
		var flags byte
		if i < len(frames)-1 {
			flags = flagMore
		}
		if len(f) < 256 {
			b = append(b, flags, byte(len(f)))
		} else {
			b = binary.BigEndian.AppendUint64(append(b, flags|flagLong), uint64(len(f)))
		}
		b = append(b, f...)
	}
	return b
}
