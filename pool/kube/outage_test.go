package kube_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/fairway-ai/fairway/pool/kube"
)

// relay passes connections on to an API server, while it is up.
type relay struct {
	t      *testing.T
	target string
	addr   string

	mu    sync.Mutex
	on    net.Listener
	conns []net.Conn
}

func (r *relay) up() {
	r.t.Helper()
	l, err := net.Listen("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = l.Addr().String()
	r.mu.Lock()
	r.on = l
	r.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", r.target)
			if err != nil {
				_ = c.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, c, s)
			r.mu.Unlock()
			go func() { _, _ = io.Copy(c, s); _ = c.Close() }()
			go func() { _, _ = io.Copy(s, c); _ = s.Close() }()
		}
	}()
}

func (r *relay) down() {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.on.Close()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

// outage is a time without the API server: what was known stays, and what changed
// meanwhile is known after it.
func (c *cluster) outage(t *testing.T) {
	c.namespace(t, "out")
	c.pod(t, "out", "p", "10.0.0.1", app)
	q := c.pod(t, "out", "q", "10.0.0.2", app)
	c.create(t, newPool("out", "pool", "a", 8000))
	u, err := url.Parse(c.config.Host)
	if err != nil {
		t.Fatal(err)
	}
	host := u.Host
	if host == "" {
		host = c.config.Host
	}
	r := &relay{t: t, target: host, addr: "127.0.0.1:0"}
	r.up()
	defer r.down()
	config := rest.CopyConfig(c.config)
	config.Host = "https://" + r.addr
	f := follow(t, config, kube.Scope{Pools: []types.NamespacedName{{Namespace: "out", Name: "pool"}}})
	f.is(t, "out", "pool", "out/p=10.0.0.1:8000 out/q=10.0.0.2:8000")
	r.down()
	c.ready(t, q, false, "10.0.0.2")
	c.pod(t, "out", "r", "10.0.0.3", app)
	f.is(t, "out", "pool", "out/p=10.0.0.1:8000 out/q=10.0.0.2:8000")
	if !f.watcher.Synced() {
		t.Error("no longer synced")
	}
	r.up()
	f.is(t, "out", "pool", "out/p=10.0.0.1:8000 out/r=10.0.0.3:8000")
}
