package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
)

// The headers that name the servers of a request's other stages. Each has a later name,
// too, with this before it.
const (
	headerPrefiller = "X-Prefiller-Host-Port"
	headerEncoders  = "X-Encoder-Hosts-Ports"
	laterPrefix     = "X-Llm-D-"
)

// maxHosts bounds the servers that a header names.
const maxHosts = 64

// cachedKey is the key, in a request's context, of the tokens that the server that
// computed the prompt found cached.
type cachedKey struct{}

func cachedElsewhere(r *http.Request) *int {
	n, _ := r.Context().Value(cachedKey{}).(*int)
	return n
}

// outputLimits are the fields that bound an answer's length, by path; those paths
// have several stages.
func outputLimits(path string) []string {
	switch path {
	case "/v1/chat/completions":
		return []string{"max_tokens", "max_completion_tokens"}
	case "/v1/completions":
		return []string{"max_tokens"}
	case "/v1/responses":
		return []string{"max_output_tokens"}
	}
	return nil
}

// takeHosts is hosts of a header under either of its names, and removes both.
func takeHosts(h http.Header, name string) []string {
	list := hosts(h, name)
	if len(list) == 0 {
		list = hosts(h, laterPrefix+strings.TrimPrefix(name, "X-"))
	}
	h.Del(name)
	h.Del(laterPrefix + strings.TrimPrefix(name, "X-"))
	return list
}

// sidecar has the servers that a request's headers name encode its images and compute
// its prompt. It returns the request and the body to answer, or nil when it has
// answered: a stage that fails fails the request.
func (s *Server) sidecar(w http.ResponseWriter, r *http.Request, body []byte, style errorStyle) (*http.Request, []byte) {
	prefillers, encoders := takeHosts(r.Header, headerPrefiller), takeHosts(r.Header, headerEncoders)
	limits := outputLimits(r.URL.Path)
	if limits == nil || len(prefillers)+len(encoders) == 0 {
		return r, body
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil || fields == nil {
		style.write(w, badRequest("the body is not a JSON object", ""))
		return nil, nil
	}
	if r.Header.Get("X-Request-Id") == "" {
		r.Header.Set("X-Request-Id", s.id("pd-", r))
	}
	if len(encoders) > 0 && r.URL.Path == "/v1/chat/completions" {
		params, err := s.encodeElsewhere(r, fields, encoders)
		if err != nil {
			style.write(w, badGateway("an image could not be encoded: "+err.Error()))
			return nil, nil
		}
		if len(params) > 0 {
			fields["ec_transfer_params"] = raw(params)
		}
	}
	if len(prefillers) > 0 {
		if r = s.prefillElsewhere(w, r, fields, prefillers[0], limits, style); r == nil {
			return nil, nil
		}
	}
	return r, raw(fields)
}

// hosts are the addresses in a header, in one line or several.
func hosts(h http.Header, name string) []string {
	var out []string
	for _, line := range h.Values(name) {
		for one := range strings.SplitSeq(line, ",") {
			if one = strings.TrimSpace(one); one != "" && len(out) < maxHosts {
				out = append(out, one)
			}
		}
	}
	return out
}

func badGateway(message string) *apiError {
	return &apiError{http.StatusBadGateway, "BadGatewayError", message, ""}
}

// raw is a value in JSON; those of this package always can be.
func raw(v any) json.RawMessage { return json.RawMessage(encode(v)) }

// prefillElsewhere has the prompt computed and adds to fields where its KV cache is.
// It returns nil when that failed, and the client has been told.
func (s *Server) prefillElsewhere(w http.ResponseWriter, r *http.Request, fields map[string]json.RawMessage, host string, limits []string, style errorStyle) *http.Request {
	sent := oneToken(fields, limits)
	sent["kv_transfer_params"] = json.RawMessage(`{"do_remote_decode":true,"do_remote_prefill":false,` +
		`"remote_engine_id":null,"remote_block_ids":null,"remote_host":null,"remote_port":null}`)
	status, header, body, err := s.callPeer(r.Context(), r, host, raw(sent))
	if err != nil {
		style.write(w, badGateway("the server that computes the prompt: "+err.Error()))
		return nil
	}
	if status < 200 || status > 299 {
		w.Header().Set("Content-Type", header.Get("Content-Type"))
		w.WriteHeader(max(status, http.StatusBadRequest))
		_, _ = w.Write(body) // an error means that the client is gone
		return nil
	}
	var answer struct {
		KV    json.RawMessage `json:"kv_transfer_params"`
		Usage struct {
			Chat      promptDetails `json:"prompt_tokens_details"`
			Responses promptDetails `json:"input_tokens_details"`
		} `json:"usage"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		style.write(w, badRequest("the server that computes the prompt did not answer in JSON", ""))
		return nil
	}
	if answer.KV == nil {
		answer.KV = json.RawMessage("null")
	}
	fields["kv_transfer_params"] = answer.KV
	cached := max(0, answer.Usage.Chat.CachedTokens+answer.Usage.Responses.CachedTokens)
	return r.WithContext(context.WithValue(r.Context(), cachedKey{}, &cached))
}

// oneToken is a copy of a request for an answer of one token, as a whole.
func oneToken(fields map[string]json.RawMessage, limits []string) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(fields)+4)
	for k, v := range fields {
		if k != "stream_options" && k != "min_tokens" {
			out[k] = v
		}
	}
	for _, k := range limits {
		out[k] = json.RawMessage("1")
	}
	out["stream"] = json.RawMessage("false")
	return out
}

// errHost means that what a header names is no address.
var errHost = errors.New("its address is not HOST:PORT")

// callPeer sends a body to another server's route of the same path.
func (s *Server) callPeer(ctx context.Context, r *http.Request, host string, body []byte) (int, http.Header, []byte, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil || name == "" || port == "" || len(host) > maxNameBytes {
		return 0, nil, nil, errHost
	}
	to := url.URL{Scheme: "http", Host: host, Path: r.URL.Path}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, errHost
	}
	for k, v := range r.Header {
		if !hop(k) {
			req.Header[k] = v
		}
	}
	status, header, answer, err := s.peers.do(req)
	if err != nil {
		err = errors.New("it cannot be reached, or has ended the connection") // without its address, which is no business of the client
	}
	return status, header, answer, err
}

// hop reports headers that concern one connection or one body.
func hop(name string) bool {
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length",
		"Content-Encoding", "Accept-Encoding", "Expect", headerRankAddress, headerRank:
		return true
	}
	return false
}
