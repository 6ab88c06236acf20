package zmtp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const greetingSize = 64

// greeting is ours: version 3.0, the NULL mechanism, no server.
//
// 3.0, although a newer minor version exists: its only news is a command for
// subscriptions, and every peer still takes them as messages.
func greeting() [greetingSize]byte {
	var g [greetingSize]byte
	g[0], g[9] = 0xff, 0x7f
	g[10] = 3
	copy(g[12:32], "NULL")
	return g
}

// errGreeting says that the peer does not speak ZMTP 3 with the NULL mechanism.
var errGreeting = errors.New("the peer does not speak ZMTP 3")

func readGreeting(r io.Reader) error {
	var g [greetingSize]byte
	if _, err := io.ReadFull(r, g[:]); err != nil {
		return fmt.Errorf("greeting: %w", err)
	}
	if g[0] != 0xff || g[9]&1 == 0 || g[10] < 3 {
		return errGreeting
	}
	if name, _, _ := bytes.Cut(g[12:32], []byte{0}); string(name) != "NULL" {
		return fmt.Errorf("%w: it asks for security mechanism %q", errGreeting, name)
	}
	return nil
}

const (
	readyCommand  = "READY"
	errorCommand  = "ERROR"
	pingCommand   = "PING"
	pongCommand   = "PONG"
	socketTypeKey = "Socket-Type"
	identityKey   = "Identity"
)

// ready is the body of our READY command.
func ready(own SocketType) []byte {
	b := appendShort(nil, readyCommand)
	b = appendProperty(b, socketTypeKey, string(own))
	if own == Dealer || own == Router {
		b = appendProperty(b, identityKey, "")
	}
	return b
}

func appendShort(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

func appendProperty(b []byte, name, value string) []byte {
	b = appendShort(b, name)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

// errCommand says that a command is not laid out as one.
var errCommand = errors.New("malformed command")

// splitCommand returns a command's name and the rest of it.
func splitCommand(body []byte) (name string, rest []byte, err error) {
	if len(body) == 0 || len(body)-1 < int(body[0]) || body[0] == 0 {
		return "", nil, errCommand
	}
	n := 1 + int(body[0])
	return string(body[1:n]), body[n:], nil
}

// peerType reads the socket type from a READY command's properties, whose names
// have no case.
func peerType(b []byte) (SocketType, error) {
	var found SocketType
	for len(b) > 0 {
		n := int(b[0])
		if n == 0 || len(b) < 1+n+4 {
			return "", errCommand
		}
		name := b[1 : 1+n]
		size := binary.BigEndian.Uint32(b[1+n:])
		b = b[1+n+4:]
		if uint64(size) > uint64(len(b)) {
			return "", errCommand
		}
		if bytes.EqualFold(name, []byte(socketTypeKey)) {
			found = SocketType(b[:size])
		}
		b = b[size:]
	}
	return found, nil
}
