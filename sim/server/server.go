package server

import (
	"container/list"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// errClosed means that the server is shutting down.
var errClosed = errors.New("the server is shutting down")

// vllmVersion is the version whose API and metrics are imitated.
const vllmVersion = "0.11.0"

// readHeaderTimeout bounds the time to send a request's headers.
const readHeaderTimeout = 30 * time.Second

// Server is one simulated model server. It is an http.Handler; its methods are
// safe for concurrent use.
type Server struct {
	cfg     Config
	clock   Clock
	driver  *driver
	mux     *http.ServeMux
	http    httpTotals
	started time.Time
	closing chan struct{}
	once    sync.Once

	mu       sync.Mutex
	failures Failures
	readyAt  time.Time
	rng      *rand.Rand
	adapters []string
	loraIDs  map[string]uint64 // numbers of the adapters, from 1 on
	loras    uint64            // adapters loaded so far
	ids      uint64
	encoder  encoderCache

	holding     holding
	peers       *peers
	stages      stageTotals
	incarnation string
	ranks       []*Server // see DataParallel
	rankPort    int
}

// New returns a server. An error names the field of c that is out of range.
func New(c Config) (*Server, error) {
	c, err := c.normalise()
	if err != nil {
		return nil, fmt.Errorf("simulated server: %w", err)
	}
	now := c.Clock.Now()
	s := &Server{
		cfg: c, clock: c.Clock, driver: newDriver(c), started: now, closing: make(chan struct{}),
		failures: c.Failures, readyAt: now.Add(time.Duration(c.Failures.StartDelay)),
		rng: rand.New(rand.NewPCG(c.Seed, 0x73696d)), adapters: c.Adapters,
		encoder: encoderCache{byHash: make(map[string]*list.Element)},
		holding: holding{byName: make(map[string]*heldPrompt)}, peers: newPeers(),
		incarnation: strconv.FormatInt(now.UnixNano(), 36),
	}
	s.loraIDs = make(map[string]uint64)
	for _, a := range c.Adapters {
		s.number(a)
	}
	if c.KVEvents.Endpoint != "" {
		p, err := newPublisher(c.KVEvents, c.Rank, c.Clock)
		if err != nil {
			return nil, fmt.Errorf("simulated server: %w", err)
		}
		s.driver.publisher = p
	}
	s.http.init()
	s.mux = s.routes()
	return s, nil
}

// Config returns the configuration with defaults filled in.
func (s *Server) Config() Config { return s.cfg }

func (s *Server) routes() *http.ServeMux {
	m := http.NewServeMux()
	handle := func(pattern string, h http.HandlerFunc) { m.HandleFunc(pattern, s.http.count(s.clock, pattern, h)) }
	infer := func(path string, style errorStyle, h func(http.ResponseWriter, *http.Request, []byte)) {
		handle("POST "+path, s.infer(style, h))
	}
	infer("/v1/chat/completions", openAIStyle, s.chat)
	infer("/v1/completions", openAIStyle, s.completions)
	infer("/v1/embeddings", openAIStyle, s.embeddings)
	infer("/v1/responses", openAIStyle, s.responses)
	infer("/v1/messages", anthropicStyle, s.messages)
	infer("/v1/messages/count_tokens", anthropicStyle, s.countTokens)
	infer("/tokenize", openAIStyle, s.tokenize)
	infer("/detokenize", openAIStyle, s.detokenize)
	infer("/v1/chat/completions/render", openAIStyle, s.renderChat)
	infer("/v1/completions/render", openAIStyle, s.renderCompletion)
	infer("/v1/load_lora_adapter", openAIStyle, s.loadAdapter)
	infer("/v1/unload_lora_adapter", openAIStyle, s.unloadAdapter)
	handle("GET "+transferPath+"{id}", s.showTransfer)
	handle("DELETE "+transferPath+"{id}", s.endTransfer)
	handle("GET /v1/models", s.models)
	handle("GET /health", s.health)
	handle("GET /ping", s.health)
	handle("POST /ping", s.health)
	handle("POST /reset_prefix_cache", s.resetPrefixCache)
	handle("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"version": vllmVersion})
	})
	// Neither is counted, as in vLLM.
	m.HandleFunc("GET /metrics", s.metrics)
	m.HandleFunc("GET /admin/config", s.adminConfig)
	m.HandleFunc("POST /admin/config", s.adminConfig)
	return m
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.toRank(w, r) {
		return
	}
	w.Header().Set("X-Sim-Server", s.cfg.Name)
	if _, pattern := s.mux.Handler(r); pattern == "" {
		s.notFound(w, r)
		return
	}
	if !s.admits(r) {
		style := openAIStyle
		if strings.HasPrefix(r.URL.Path, "/v1/messages") {
			style = anthropicStyle
		}
		style.write(w, &apiError{http.StatusUnauthorized, "AuthenticationError", "the API key is missing or wrong", ""})
		return
	}
	s.mux.ServeHTTP(w, r)
}

// admits checks the API key as vLLM does, which asks for it below /v1 only.
func (s *Server) admits(r *http.Request) bool {
	if s.cfg.APIKey == "" || !strings.HasPrefix(r.URL.Path, "/v1/") {
		return true
	}
	key, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		key = r.Header.Get("X-Api-Key")
	}
	return subtle.ConstantTimeCompare([]byte(key), []byte(s.cfg.APIKey)) == 1
}

// notFound answers as vLLM does where it has no handler.
func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	status := http.StatusNotFound
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		probe := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := s.mux.Handler(probe); pattern != "" && method != r.Method {
			status = http.StatusMethodNotAllowed
			w.Header().Set("Allow", method)
		}
	}
	text := http.StatusText(status)
	openAIStyle.write(w, &apiError{status, text, text, ""})
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	if !s.ready() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// Run serves on the listener until ctx ends, then lets running requests finish
// for a while ([Config.ShutdownTimeout]). It returns nil after a shutdown. The
// server cannot be used afterwards.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	hs := &http.Server{Handler: s, ReadHeaderTimeout: readHeaderTimeout}
	failed := make(chan error, 1)
	go func() { failed <- hs.Serve(l) }()
	defer s.Close()
	select {
	case err := <-failed:
		return fmt.Errorf("simulated server %s: %w", s.cfg.Name, err)
	case <-ctx.Done():
	}
	s.release()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownTimeout)
	defer cancel()
	if err := hs.Shutdown(grace); err != nil {
		return ignoreDeadline(errors.Join(err, hs.Close()))
	}
	return nil
}

// ignoreDeadline: requests that did not finish in time were cut off, as promised.
func ignoreDeadline(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// release lets hanging requests end.
func (s *Server) release() { s.once.Do(func() { close(s.closing) }) }

// Close stops the engine; requests that are running get no more tokens. A server
// whose Run returned is closed already.
func (s *Server) Close() {
	s.release()
	s.closeHolding()
	s.peers.close()
	s.driver.close()
	if p := s.driver.publisher; p != nil {
		p.close()
	}
}

// adapter returns the LoRA adapter of a model name, "" for the base model.
func (s *Server) adapter(model string) (string, *apiError) {
	if model == "" || model == s.cfg.Model {
		return "", nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.adapters, model) {
		if len(model) > maxNameBytes {
			model = model[:maxNameBytes] + "..."
		}
		return "", noModel(model)
	}
	return model, nil
}

// number gives an adapter that is loaded its number. The caller holds s.mu, or is New.
func (s *Server) number(adapter string) {
	s.loras++
	s.loraIDs[adapter] = s.loras
}

// loraID is an adapter's number, 0 for the base model.
func (s *Server) loraID(adapter string) uint64 {
	if adapter == "" {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loraIDs[adapter]
}

// maxRequestID bounds the client's request id that is repeated in the answer's.
const maxRequestID = 128

// id makes an answer's id, from the client's x-request-id if there is one.
func (s *Server) id(prefix string, r *http.Request) string {
	if v := r.Header.Get("X-Request-Id"); v != "" && len(v) <= maxRequestID {
		return prefix + v
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids++
	return fmt.Sprintf("%s%s-%d", prefix, s.cfg.Name, s.ids)
}
