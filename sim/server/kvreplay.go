package server

import (
	"encoding/binary"
	"net"
	"time"

	"github.com/fairway-ai/fairway/internal/zmtp"
)

// serveReplay answers requests for messages from a sequence number on.
func (p *publisher) serveReplay(nc net.Conn, c *zmtp.Conn) {
	var m zmtp.Message
	for c.Read(&m) == nil {
		if len(m.Frames) != 2 || len(m.Frames[1]) != 8 {
			continue
		}
		from := binary.BigEndian.Uint64(m.Frames[1])
		p.mu.Lock()
		list := append([]kvMessage(nil), p.buffer...)
		p.mu.Unlock()
		list = append(list, kvMessage{seq: ^uint64(0)}) // the end
		for i, msg := range list {
			if msg.seq < from && i < len(list)-1 {
				continue
			}
			if nc.SetWriteDeadline(time.Now().Add(kvWrite)) != nil || c.Write(nil, binary.BigEndian.AppendUint64(nil, msg.seq), msg.payload) != nil {
				return
			}
		}
	}
}
