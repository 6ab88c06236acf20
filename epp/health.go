package epp

import (
	"sync/atomic"

	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/fairway-ai/fairway/extproc"
)

// liveness is the gRPC health service that says the process runs at all.
const liveness = "liveness"

// readiness are the gRPC health services that say whether requests can be served:
// the server as a whole, llm-d's and the Gateway API Inference Extension's names.
var readiness = [...]string{"", "readiness", extproc.ServiceName, "inference-extension"}

// healthServer answers gRPC health checks.
type healthServer struct {
	*health.Server
	isReady atomic.Bool
}

func newHealthServer() *healthServer {
	h := &healthServer{Server: health.NewServer()}
	h.SetServingStatus(liveness, healthgrpc.HealthCheckResponse_SERVING)
	h.set(false)
	return h
}

func (h *healthServer) set(ready bool) {
	h.isReady.Store(ready)
	status := healthgrpc.HealthCheckResponse_NOT_SERVING
	if ready {
		status = healthgrpc.HealthCheckResponse_SERVING
	}
	for _, name := range readiness {
		h.SetServingStatus(name, status)
	}
}

func (h *healthServer) ready() bool { return h.isReady.Load() }
