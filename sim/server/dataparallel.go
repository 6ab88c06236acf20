package server

import (
	"net"
	"net/http"
	"strconv"
)

// MaxRanks bounds the data parallel ranks of one server.
const MaxRanks = 64

// The headers that name a data parallel rank: by its address, for the sidecar, and by
// its number, for vLLM.
const (
	headerRankAddress = "X-Data-Parallel-Host-Port"
	headerRank        = "X-Data-Parallel-Rank"
)

// DataParallel makes servers the ranks of one: the first one, which listens on port,
// passes on requests for another, which is taken to listen on port + its number. It
// must be called before the servers get requests.
func DataParallel(port int, ranks []*Server) {
	if len(ranks) > 1 {
		ranks[0].ranks, ranks[0].rankPort = ranks, port
	}
}

// toRank passes a request on to the rank that its headers name, and reports whether
// there was anything to do. A rank that there is not is answered 400, as the sidecar
// does.
func (s *Server) toRank(w http.ResponseWriter, r *http.Request) bool {
	if len(s.ranks) == 0 {
		return false
	}
	n, named := 0, false
	if address := r.Header.Get(headerRankAddress); address != "" && s.cfg.Sidecar {
		named = true
		_, port, err := net.SplitHostPort(address)
		p, err2 := strconv.ParseUint(port, 10, 16)
		if n = int(p) - s.rankPort; err != nil || err2 != nil {
			n = -1
		}
	} else if text := r.Header.Get(headerRank); text != "" {
		named = true
		v, err := strconv.ParseUint(text, 10, 16)
		if n = int(v); err != nil {
			n = -1
		}
	}
	if !named {
		return false
	}
	if n < 0 || n >= len(s.ranks) {
		w.WriteHeader(http.StatusBadRequest)
		return true
	}
	r.Header.Del(headerRankAddress)
	r.Header.Del(headerRank)
	if n == 0 {
		return false
	}
	s.ranks[n].ServeHTTP(w, r)
	return true
}
