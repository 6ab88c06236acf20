package server

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"

	"github.com/fairway-ai/fairway/sim/engine"
)

// maxHandle bounds the name of a computed prompt, in bytes.
const maxHandle = 512

// transferPath is where a server is asked for what it has computed, and told that it
// was fetched. In vLLM that goes over the KV connector's side channel.
const transferPath = "/sim/kv_transfers/"

// holding is the prompts that a server has computed for others.
type holding struct {
	mu     sync.Mutex
	byName map[string]*heldPrompt
	closed bool
	seq    uint64
}

type heldPrompt struct {
	req    *engine.Request
	tokens int
	stop   func() bool // of its timeout
}

// heldAnswer is what is told of a prompt.
type heldAnswer struct {
	EngineID string `json:"engine_id"`
	Tokens   int    `json:"tokens"`
}

// hold keeps an answer's blocks until they are fetched, or for a while, and returns
// the kv_transfer_params that say where they are.
func (s *Server) hold(r *http.Request, a *answer) (any, bool) {
	host, port := s.reachedAt(r)
	h := &s.holding
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, false
	}
	h.seq++
	id := fmt.Sprintf("%s-%08x", a.req.ID, h.seq)
	p := &heldPrompt{req: &a.req, tokens: a.req.PromptTokens}
	p.stop = s.clock.AfterFunc(s.cfg.HoldTimeout, func() {
		if s.drop(id) {
			s.stages.expired.Add(1)
		}
	})
	h.byName[id] = p
	return map[string]any{
		"do_remote_prefill": true, "do_remote_decode": false, "remote_engine_id": s.engineID(), "remote_request_id": id,
		"remote_block_ids": s.blockIDs(&a.req), "remote_host": host, "remote_port": port, "tp_size": 1,
		"remote_num_tokens": a.req.PromptTokens,
	}, true
}

// reachedAt is where the client reached this server, and so where others will.
func (s *Server) reachedAt(r *http.Request) (host string, port int) {
	host, text, err := net.SplitHostPort(r.Host)
	if err != nil {
		return r.Host, 80
	}
	port, _ = strconv.Atoi(text) // 0, which nobody can reach, for what is no port
	return host, port
}

// engineID tells a server from one that was at its address before.
func (s *Server) engineID() string { return s.cfg.Name + "-" + s.incarnation }

// blockIDs invents the numbers of a request's blocks.
func (s *Server) blockIDs(r *engine.Request) []uint64 {
	n := (r.PromptTokens + s.cfg.Engine.BlockTokens - 1) / s.cfg.Engine.BlockTokens
	out := make([]uint64, n)
	for i := range out {
		if i < len(r.Hashes) {
			out[i] = r.Hashes[i] % uint64(s.cfg.Engine.Blocks)
		}
	}
	return out
}

// drop gives a prompt's blocks back, and reports whether they were still held.
func (s *Server) drop(id string) bool {
	h := &s.holding
	h.mu.Lock()
	p := h.byName[id]
	delete(h.byName, id)
	h.mu.Unlock()
	if p == nil {
		return false
	}
	p.stop()
	s.driver.release(p.req)
	return true
}

// closeHolding drops everything and takes nothing more.
func (s *Server) closeHolding() {
	h := &s.holding
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, p := range h.byName {
		p.stop()
	}
	clear(h.byName)
}

// showTransfer answers who is about to fetch a prompt.
func (s *Server) showTransfer(w http.ResponseWriter, r *http.Request) {
	h := &s.holding
	h.mu.Lock()
	p := h.byName[r.PathValue("id")]
	h.mu.Unlock()
	if p == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	writeJSON(w, http.StatusOK, heldAnswer{s.engineID(), p.tokens})
}

// endTransfer is told by who has fetched a prompt, or needs it no more.
func (s *Server) endTransfer(w http.ResponseWriter, r *http.Request) {
	if !s.drop(r.PathValue("id")) {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
