package envoygateway

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// What the translations say is what Envoy does.
func TestRealEnvoy(t *testing.T) {
	llama, qwen, web := newModel(t), newModel(t), newModel(t)
	r := newRig(t, map[string][]string{
		"weights/llama": {llama.addr, qwen.addr}, "weights/qwen": {qwen.addr}, "missing/llama": {llama.addr},
		"services/llama": {llama.addr}, "httproute/services/services/rule/0": {web.addr},
	}, "weights", "missing", "services")
	for pool, m := range map[string]*model{"weights/llama": llama, "weights/qwen": qwen, "missing/llama": llama, "services/llama": llama} {
		r.picker.picks[pool] = m.addr
	}
	r.await("weights", "/one", http.StatusOK)
	r.await("weights", "/zero", http.StatusOK)
	r.await("missing", "/half", http.StatusOK)
	r.await("services", "/one", http.StatusOK)

	t.Run("pick", func(t *testing.T) {
		// The client's own choice does not count.
		a := r.must("weights", "/one", xds.DestinationHeader, qwen.addr, xds.PoolHeader, "weights/qwen",
			xds.SubsetHeader, qwen.addr, "x-mine", "1")
		if a.status != http.StatusOK || a.header.Get("x-served-by") != llama.addr {
			t.Errorf("got %v", a)
		}
		if r.picker.fooled != "" {
			t.Errorf("the picker got the client's %s", r.picker.fooled)
		}
		for _, h := range xds.PrivateHeaders() {
			if v := llama.last.Get(h); v != "" {
				t.Errorf("the model server got %s: %s", h, v)
			}
		}
		if llama.last.Get("x-mine") != "1" {
			t.Error("the model server did not get the client's header")
		}
	})
	t.Run("long body", func(t *testing.T) {
		a, err := r.post("weights", "/one", bytes.Repeat([]byte("x"), 5<<20))
		if err != nil || a.status != http.StatusOK {
			t.Errorf("got %v, %v", a, err)
		}
	})
	t.Run("weights", func(t *testing.T) {
		const n = 300
		byLlama, before := 0, r.picker.count("weights/llama")
		for range n {
			if a := r.must("weights", "/two"); a.status != http.StatusOK {
				t.Fatalf("got %v", a)
			} else if a.header.Get("x-served-by") == llama.addr {
				byLlama++
			}
		}
		if asked := r.picker.count("weights/llama") - before; asked != byLlama {
			t.Errorf("the picker was asked for llama %d times, which served %d", asked, byLlama)
		}
		between(t, "llama's share", byLlama, n*55/100, n*85/100)
	})
	t.Run("missing share", func(t *testing.T) {
		const n = 200
		got := map[int]int{}
		for range n {
			got[r.must("missing", "/half").status]++
		}
		between(t, "500s", got[500], n*35/100, n*65/100)
		if got[500]+got[200] != n {
			t.Errorf("got %v", got)
		}
		if s := r.must("missing", "/all").status; s != http.StatusInternalServerError {
			t.Errorf("all missing: %d", s)
		}
	})
	t.Run("services", func(t *testing.T) {
		const n = 200
		byWeb, before := 0, r.picker.count("services/llama")
		for range n {
			if a := r.must("services", "/one"); a.status != http.StatusOK {
				t.Fatalf("got %v", a)
			} else if a.header.Get("x-served-by") == web.addr {
				byWeb++
			}
		}
		between(t, "the Service's share", byWeb, n*25/100, n*55/100)
		if asked := r.picker.count("services/llama") - before; asked != n-byWeb {
			t.Errorf("the picker was asked %d times for %d requests", asked, n-byWeb)
		}
		if asked := r.picker.count(""); asked != 0 {
			t.Errorf("the picker was asked %d times for no pool", asked)
		}
		got := map[int]int{}
		for range n {
			got[r.must("services", "/only-empty").status]++
		}
		between(t, "503s for a Service without endpoints", got[503], n*35/100, n*65/100)
	})
	t.Run("no picker", func(t *testing.T) {
		r.stop()
		a := r.await("weights", "/one", http.StatusServiceUnavailable) // FailClose
		if !strings.HasPrefix(a.body, `{"error":`) || a.header.Get("content-type") != "application/json" {
			t.Errorf("not in the client's schema: %v", a)
		}
		// The way around the pick is closed too.
		if a := r.must("weights", "/one", xds.DestinationHeader, llama.addr); a.status != http.StatusServiceUnavailable {
			t.Errorf("a client chose its server: %v", a)
		}
		if a := r.must("weights", "/zero"); a.status != http.StatusOK { // FailOpen
			t.Errorf("got %v", a)
		}
	})
}

func between(t *testing.T, what string, got, low, high int) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: %d, want %d to %d", what, got, low, high)
	}
}
