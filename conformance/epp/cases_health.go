package epp

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// healthServices are the names that are asked for.
var healthServices = [...]struct{ id, service, section, clause string }{
	{"health/liveness", "liveness", secHealth, "the process is alive"},
	{"health/readiness", "readiness", secHealth, "the picker is ready"},
	{"health/ext-proc", "envoy.service.ext_proc.v3.ExternalProcessor", secHealth, "the ext_proc service is ready"},
	{"health/inference-extension", "inference-extension", secPractice, "the picker is ready, by the name that the extension's conformance manifests probe"},
}

func healthCases() []Case {
	cases := []Case{{ID: "health/protocol", Level: Must, Section: secHealth,
		Clause: "health is told by gRPC's health checking protocol (skipped when it is not served on the target and `--health-target` is not given)",
		run: func(ctx context.Context, s *session) error {
			var last error
			for _, h := range healthServices {
				got, err := s.check(ctx, h.service)
				if err != nil {
					return err
				}
				if got == nil {
					return nil
				}
				last = got
			}
			return last
		}}}
	for _, h := range healthServices {
		cases = append(cases, Case{ID: h.id, Level: Should, Section: h.section,
			Clause: fmt.Sprintf("health service `%s` is SERVING: %s", h.service, h.clause),
			run: func(ctx context.Context, s *session) error {
				failure, err := s.check(ctx, h.service)
				if err != nil {
					return err
				}
				return failure
			}})
	}
	return cases
}

// check asks for a service's health. It returns failure when it is not SERVING,
// and err when it cannot be judged.
func (s *session) check(ctx context.Context, service string) (failure, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	r, err := s.health.Check(ctx, &healthgrpc.HealthCheckRequest{Service: service})
	if status.Code(err) == codes.Unimplemented && s.o.HealthTarget == "" {
		return nil, skipped("gRPC health is not served where ext_proc is; name its address with --health-target")
	}
	got := r.GetStatus().String()
	if err != nil {
		got = "gRPC status " + status.Code(err).String() + " " + quote(status.Convert(err).Message())
	} else if r.GetStatus() == healthgrpc.HealthCheckResponse_SERVING {
		return nil, nil
	}
	return &Failure{Sent: "a health check of service " + quote(service), Got: got, Want: "SERVING"}, nil
}
