package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	// maxPeerAnswer bounds what another server answers, in bytes.
	maxPeerAnswer = 8 << 20
	peerDial      = 5 * time.Second
	// peerTalk bounds a call about a transfer; the call that computes a prompt may take
	// as long as the client waits.
	peerTalk = 10 * time.Second
)

// peers calls other servers.
type peers struct {
	client *http.Client
	mu     sync.Mutex // for adding calls
	calls  sync.WaitGroup
	// life ends with the server.
	life context.Context
	end  context.CancelFunc
}

func newPeers() *peers {
	p := &peers{client: &http.Client{
		// No connection is kept: an idle one is a goroutine.
		Transport:     &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: peerDial}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

func (p *peers) close() {
	p.mu.Lock()
	p.end()
	p.mu.Unlock()
	p.calls.Wait()
}

// do sends a request and reads the answer.
func (p *peers) do(req *http.Request) (status int, header http.Header, body []byte, err error) {
	res, err := p.client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer res.Body.Close()
	body, err = io.ReadAll(io.LimitReader(res.Body, maxPeerAnswer+1))
	if err == nil && len(body) > maxPeerAnswer {
		err = fmt.Errorf("the answer exceeds %d bytes", maxPeerAnswer)
	}
	return res.StatusCode, res.Header, body, err
}

// errGoneThere means that another server has not, or no more, what it was to have.
var errGoneThere = errors.New("the blocks are not there")

// ask asks a server what it holds under a name.
func (p *peers) ask(ctx context.Context, address, id string) (heldAnswer, error) {
	var a heldAnswer
	ctx, cancel := context.WithTimeout(ctx, peerTalk)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, transferURL(address, id), nil)
	if err != nil {
		return a, err
	}
	status, _, body, err := p.do(req)
	switch {
	case err != nil:
		return a, err
	case status != http.StatusOK:
		return a, fmt.Errorf("%w: status %d", errGoneThere, status)
	}
	return a, json.Unmarshal(body, &a)
}

// tell says, in the background, that what a server holds is needed no more.
func (p *peers) tell(address, id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life.Err() != nil {
		return // its blocks are given back after a while
	}
	p.calls.Go(func() {
		ctx, cancel := context.WithTimeout(p.life, peerTalk)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodDelete, transferURL(address, id), nil)
		if err == nil {
			_, _, _, _ = p.do(req) // likewise
		}
	})
}

func transferURL(address, id string) string {
	return (&url.URL{Scheme: "http", Host: address, Path: transferPath + id, RawPath: transferPath + url.PathEscape(id)}).String()
}

// fetch lets a job's prompt come from the server that has computed it. As in vLLM's
// default, a request whose blocks are gone fails.
func (s *Server) fetch(r *http.Request, j *job, p *transferParams) *apiError {
	address, ok := p.peer()
	if !ok {
		return nil
	}
	held, err := s.peers.ask(r.Context(), address, p.RequestID)
	if err == nil && held.EngineID != p.EngineID {
		err = errGoneThere
	}
	if err != nil {
		s.stages.failed.Add(1)
		return &apiError{http.StatusInternalServerError, "InternalServerError", "the KV cache of the prompt could not be fetched from the server that computed it", ""}
	}
	j.stage = stageDecode
	for _, a := range j.answers {
		a.req.Remote = max(0, held.Tokens)
	}
	j.fetched = func() { s.peers.tell(address, p.RequestID) }
	return nil
}
