package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Role is the part of a request's work that a server takes.
type Role string

// The roles. A server takes requests of any kind in every role but RoleEncode; what
// differs is whether it computes a prompt for another one, or has it computed.
const (
	// RoleBoth computes prompts for others, fetches what others have computed, and
	// answers.
	RoleBoth Role = "both"
	// RolePrefill computes prompts for others.
	RolePrefill Role = "prefill"
	// RoleDecode fetches what others have computed.
	RoleDecode Role = "decode"
	// RoleEncode encodes images for others, and computes nothing else.
	RoleEncode Role = "encode"
)

// DefaultHoldTimeout is how long a computed prompt waits to be fetched.
const DefaultHoldTimeout = 8 * time.Minute

// Roles are all roles.
func Roles() []Role { return []Role{RolePrefill, RoleDecode, RoleEncode, RoleBoth} }

func (r Role) validate() error {
	if !slices.Contains(Roles(), r) {
		return fmt.Errorf("role %.60q: must be one of %v", string(r), Roles())
	}
	return nil
}

func (r Role) holds() bool   { return r == RoleBoth || r == RolePrefill }
func (r Role) fetches() bool { return r == RoleBoth || r == RoleDecode }

// transferParams are vLLM's kv_transfer_params: in a request what is to be done with
// the KV cache, in an answer where it is.
type transferParams struct {
	DoRemoteDecode  bool            `json:"do_remote_decode"`
	DoRemotePrefill bool            `json:"do_remote_prefill"`
	EngineID        string          `json:"remote_engine_id"`
	RequestID       string          `json:"remote_request_id"`
	BlockIDs        json.RawMessage `json:"remote_block_ids"`
	Host            string          `json:"remote_host"`
	Port            json.RawMessage `json:"remote_port"`
	TPSize          int             `json:"tp_size"`
	Tokens          int             `json:"remote_num_tokens"`
}

// peer is where the blocks are; false where the fields do not say, which vLLM takes
// for a request to compute the prompt here.
func (p *transferParams) peer() (string, bool) {
	port, err := strconv.ParseUint(string(bytes.Trim(p.Port, `"`)), 10, 16)
	blocks := bytes.TrimSpace(p.BlockIDs)
	if err != nil || port == 0 || p.Host == "" || len(p.Host) > maxNameBytes || p.EngineID == "" || len(p.EngineID) > maxNameBytes ||
		p.RequestID == "" || len(p.RequestID) > maxHandle || !given(blocks) || blocks[0] != '[' {
		return "", false
	}
	return net.JoinHostPort(p.Host, strconv.FormatUint(port, 10)), true
}

// stage names what a server does for a request, in the metrics.
type stage string

const (
	stageWhole   stage = "whole"
	stagePrefill stage = "prefill"
	stageDecode  stage = "decode"
	stageEncode  stage = "encode"
)

// transfers are the parts of a request that say what other servers have done, or are
// to do, for it.
type transfers struct {
	KV *transferParams `json:"kv_transfer_params"`
	// EC names the images that were encoded elsewhere, by their hashes.
	EC map[string]json.RawMessage `json:"ec_transfer_params"`
}

// begin prepares a job's answers for what its request says of other servers, and
// submits them.
func (s *Server) begin(r *http.Request, j *job, t transfers, streamed bool) *apiError {
	p := t.KV
	j.stage = stageWhole
	switch {
	case s.cfg.Role == RoleEncode:
		j.stage = stageEncode
		j.onlyEncode()
	case p == nil:
	case p.DoRemoteDecode && s.cfg.Role.holds() && len(j.answers) == 1 && !streamed && j.answers[0].reason == "length":
		j.stage = stagePrefill
		j.answers[0].req.Hold = true
	case p.DoRemotePrefill && s.cfg.Role.fetches():
		if err := s.fetch(r, j, p); err != nil {
			return err
		}
	}
	s.mu.Lock()
	for i, a := range j.answers {
		if i%max(1, a.n) == 0 { // the others of a prompt find it encoded
			a.req.Encode = s.encoder.missing(a.prompt.media, t.EC)
		}
	}
	s.mu.Unlock()
	if err := s.submit(j); err != nil {
		return err
	}
	s.stages.count(j.stage)
	return nil
}

// onlyEncode leaves nothing of a job but its images.
func (j *job) onlyEncode() {
	for _, a := range j.answers {
		a.req.PromptTokens, a.req.OutputTokens, a.req.Hashes, a.reason = 1, 1, nil, "length"
	}
}

// finish is follow for answers that are sent as a whole. It returns what the answer
// has as kv_transfer_params and ec_transfer_params, nil where there is nothing.
func (s *Server) finish(r *http.Request, j *job) (kv, ec any, err error) {
	kept := false
	defer func() {
		if a := j.answers[0]; a.req.Hold && !kept {
			s.driver.release(&a.req)
		}
	}()
	if err := s.follow(r.Context(), j, discard{}); err != nil {
		return nil, nil, err
	}
	switch j.stage {
	case stagePrefill:
		kv, kept = s.hold(r, j.answers[0])
	case stageEncode:
		ec = s.encoded(r, j)
	}
	return kv, ec, nil
}
