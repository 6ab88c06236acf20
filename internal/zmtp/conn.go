package zmtp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// SocketType is a ZeroMQ socket type as the wire names it.
type SocketType string

// The socket types that a [Conn] can be.
const (
	Pub    SocketType = "PUB"
	Sub    SocketType = "SUB"
	Dealer SocketType = "DEALER"
	Router SocketType = "ROUTER"
)

// accepts reports whether a peer's socket type fits.
func (t SocketType) accepts(peer SocketType) bool {
	switch t {
	case Pub:
		return peer == Sub || peer == "XSUB"
	case Sub:
		return peer == Pub || peer == "XPUB"
	case Dealer:
		return peer == Router || peer == Dealer || peer == "REP"
	case Router:
		return peer == Dealer || peer == Router || peer == "REQ"
	}
	return false
}

// Limits bound what a peer can make a [Conn] hold.
type Limits struct {
	// Message is the bytes of one message, all frames together; 0 means 16 MiB.
	Message int
	// Frames is the frames of one message; 0 means 8.
	Frames int
}

func (l Limits) withDefaults() Limits {
	if l.Message <= 0 {
		l.Message = 16 << 20
	}
	if l.Frames <= 0 {
		l.Frames = 8
	}
	return l
}

// Errors of [Conn.Read] that say the peer is at fault.
var (
	ErrTooLarge = errors.New("the peer's message is larger than the limit")
	errFlags    = errors.New("the peer's frame has unknown flags")
)

const (
	flagMore    = 1
	flagLong    = 2
	flagCommand = 4
	// maxCommand bounds a command; the largest one that peers send is READY.
	maxCommand = 8 << 10
	// bufferSize is the read buffer of a connection; growth is how much memory a
	// frame gets before its bytes have come.
	bufferSize = 8 << 10
	growth     = 64 << 10
	// keptBuffer is the message buffer that a quiet connection keeps.
	keptBuffer = 256 << 10
)

// Message is what [Conn.Read] fills in. Frames point into memory that the next
// Read uses again.
type Message struct {
	Frames [][]byte
	buf    []byte
	ends   []int
}

// Conn is one ZMTP connection. One goroutine may read while others write.
type Conn struct {
	nc     net.Conn
	r      *bufio.Reader
	own    SocketType
	limits Limits

	mu  sync.Mutex // of writing
	out []byte
}

// Handshake greets the peer, and returns when both have told what they are. It
// needs a deadline on nc, which is the caller's to set and to clear, and does not
// close nc.
func Handshake(nc net.Conn, own SocketType, l Limits) (*Conn, error) {
	c := &Conn{nc: nc, r: bufio.NewReaderSize(nc, bufferSize), own: own, limits: l.withDefaults()}
	g := greeting()
	body := ready(own)
	c.out = append(append(c.out, g[:]...), flagCommand, byte(len(body)))
	if _, err := nc.Write(append(c.out, body...)); err != nil {
		return nil, fmt.Errorf("greeting: %w", err)
	}
	if err := readGreeting(c.r); err != nil {
		return nil, err
	}
	var m Message
	for {
		command, _, err := c.frame(&m)
		if err != nil {
			return nil, fmt.Errorf("handshake: %w", err)
		}
		if !command {
			return nil, fmt.Errorf("handshake: %w", errCommand)
		}
		name, rest, err := splitCommand(m.buf)
		switch {
		case err != nil:
			return nil, fmt.Errorf("handshake: %w", err)
		case name == errorCommand:
			return nil, errors.New("handshake: the peer refused it")
		case name != readyCommand:
			m.buf = m.buf[:0]
			continue
		}
		peer, err := peerType(rest)
		if err != nil {
			return nil, fmt.Errorf("handshake: %w", err)
		}
		if !own.accepts(peer) {
			return nil, fmt.Errorf("handshake: the peer is a %.16q socket, which a %s does not talk to", string(peer), own)
		}
		return c, nil
	}
}

// frame appends one frame's body to m.buf.
func (c *Conn) frame(m *Message) (command, more bool, err error) {
	flags, err := c.r.ReadByte()
	if err != nil {
		return false, false, err
	}
	if flags&^(flagMore|flagLong|flagCommand) != 0 || flags&flagCommand != 0 && flags&flagMore != 0 {
		return false, false, errFlags
	}
	command, more = flags&flagCommand != 0, flags&flagMore != 0
	var size uint64
	if flags&flagLong == 0 {
		b, err := c.r.ReadByte()
		if err != nil {
			return false, false, noEOF(err)
		}
		size = uint64(b)
	} else {
		var b [8]byte
		if _, err := io.ReadFull(c.r, b[:]); err != nil {
			return false, false, noEOF(err)
		}
		size = binary.BigEndian.Uint64(b[:])
	}
	limit := uint64(c.limits.Message - min(len(m.buf), c.limits.Message))
	if command {
		limit = maxCommand
	}
	if size > limit {
		return false, false, ErrTooLarge
	}
	return command, more, c.body(m, int(size))
}

// body reads size bytes. Memory at most doubles with what has arrived.
func (c *Conn) body(m *Message, size int) error {
	for size > 0 {
		if cap(m.buf) == len(m.buf) {
			m.buf = slices.Grow(m.buf, min(size, max(growth, len(m.buf))))
		}
		n := min(size, cap(m.buf)-len(m.buf))
		at := len(m.buf)
		m.buf = m.buf[:at+n]
		if _, err := io.ReadFull(c.r, m.buf[at:]); err != nil {
			return noEOF(err)
		}
		size -= n
	}
	return nil
}

// noEOF marks an end within a message as one that came too early.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Read reads the next message. Pings are answered; other commands are skipped.
// After an error the connection is of no use. io.EOF means that the peer has left
// between two messages.
func (c *Conn) Read(m *Message) error {
	if cap(m.buf) > keptBuffer {
		m.buf = nil
	}
	m.buf, m.ends, m.Frames = m.buf[:0], m.ends[:0], m.Frames[:0]
	for {
		at := len(m.buf)
		command, more, err := c.frame(m)
		if err != nil {
			if len(m.ends) > 0 {
				err = noEOF(err)
			}
			return err
		}
		if command {
			if len(m.ends) > 0 {
				return errFlags
			}
			if err := c.command(m.buf[at:]); err != nil {
				return err
			}
			m.buf = m.buf[:at]
			continue
		}
		if len(m.ends) == c.limits.Frames {
			return ErrTooLarge
		}
		m.ends = append(m.ends, len(m.buf))
		if !more {
			break
		}
	}
	at := 0
	for _, end := range m.ends {
		m.Frames = append(m.Frames, m.buf[at:end:end])
		at = end
	}
	return nil
}

// maxPingContext is what a PONG repeats of a PING.
const maxPingContext = 16

// command handles a command outside of the handshake.
func (c *Conn) command(body []byte) error {
	name, rest, err := splitCommand(body)
	switch {
	case err != nil:
		return err
	case name == errorCommand:
		return errors.New("the peer reported an error")
	case name == pingCommand:
		if len(rest) < 2 || len(rest) > 2+maxPingContext {
			return errCommand
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		// A peer that sends pings and reads nothing must not stop the reader.
		if err := c.nc.SetWriteDeadline(time.Now().Add(pongTimeout)); err != nil {
			return fmt.Errorf("pong: %w", err)
		}
		pong := append(appendShort(nil, pongCommand), rest[2:]...)
		if _, err := c.nc.Write(append([]byte{flagCommand, byte(len(pong))}, pong...)); err != nil {
			return fmt.Errorf("pong: %w", err)
		}
		if err := c.nc.SetWriteDeadline(time.Time{}); err != nil {
			return fmt.Errorf("pong: %w", err)
		}
	}
	return nil
}

const pongTimeout = 5 * time.Second

// SetReadDeadline bounds all reads from now on.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.nc.SetReadDeadline(t) }

// Close closes the connection under it.
func (c *Conn) Close() error { return c.nc.Close() }
