package explain

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// Path is where Handler expects to be served.
const Path = "/debug/fairway/decisions"

// defaultCount is how many decisions a list has when it is not asked for more.
const defaultCount = 20

// Handler serves the decisions as JSON: GET Path[?n=N] the latest ones, and GET
// Path/{id} one request's.
func (r *Ring) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+Path, func(w http.ResponseWriter, q *http.Request) {
		n := defaultCount
		if s := q.URL.Query().Get("n"); s != "" {
			var err error
			if n, err = strconv.Atoi(s); err != nil || n < 0 {
				http.Error(w, "n must be a number of decisions, 0 or more", http.StatusBadRequest)
				return
			}
		}
		ds := r.Latest(n)
		if ds == nil {
			ds = []Decision{}
		}
		answer(w, ds)
	})
	mux.HandleFunc("GET "+Path+"/{id...}", func(w http.ResponseWriter, q *http.Request) {
		d, ok := r.Find(q.PathValue("id"))
		if !ok {
			http.Error(w, "no decision of that request is kept", http.StatusNotFound)
			return
		}
		answer(w, &d)
	})
	return mux
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	// The only possible error is a reader that is gone.
	_ = json.NewEncoder(w).Encode(v)
}
