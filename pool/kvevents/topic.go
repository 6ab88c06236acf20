package kvevents

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
)

const (
	topicPrefix = "kv@"
	// maxTopic bounds a topic in bytes.
	maxTopic = 1024
)

// splitTopic reads "kv@ENDPOINT@MODEL". A topic of another form names neither.
func splitTopic(t []byte) (endpoint, model []byte) {
	if len(t) > maxTopic || !bytes.HasPrefix(t, []byte(topicPrefix)) {
		return nil, nil
	}
	endpoint, model, _ = bytes.Cut(t[len(topicPrefix):], []byte{'@'})
	return endpoint, model
}

// topics are the endpoints by what topics call them: their name, "IP:PORT", and their
// IP alone, unless it is that of several.
type topics map[string]*source

// add enters what topics may call an endpoint. An IPv6 address may be in brackets or not:
// those who write a topic have the bare one at hand.
func (t topics) add(e Endpoint, src *source) {
	port := strconv.Itoa(e.Port)
	t[net.JoinHostPort(e.Address, port)] = src
	t[e.Address+":"+port] = src
	if _, taken := t[e.Address]; taken {
		src = nil
	}
	t[e.Address] = src
	if strings.Contains(e.Address, ":") {
		t["["+e.Address+"]"] = src
	}
}

// Address is where a ZeroMQ socket is, or listens.
type Address struct {
	// Host is a name or an IP; "" means all, and only for listening.
	Host string
	Port int
}

// ParseAddress reads "tcp://HOST:PORT", with or without the scheme. The host "*",
// and none, stand for all addresses.
func ParseAddress(s string) (Address, error) {
	rest, found := strings.CutPrefix(s, "tcp://")
	if !found && strings.Contains(s, "://") {
		return Address{}, fmt.Errorf("%q: only tcp:// addresses are supported", s)
	}
	host, port, err := net.SplitHostPort(rest)
	if err != nil {
		return Address{}, fmt.Errorf("%q: must be tcp://HOST:PORT", s)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 65535 {
		return Address{}, fmt.Errorf("%q: the port must be 0 to 65535", s)
	}
	if host == "*" {
		host = ""
	}
	return Address{Host: host, Port: n}, nil
}

// Listen is the address in the form of package net.
func (a Address) Listen() string { return net.JoinHostPort(a.Host, strconv.Itoa(a.Port)) }
