// Package parts joins what a process needs to carry requests to AI providers: rules and
// their router, backends and their credentials, costs, metrics and spans.
//
// It decides nothing itself and must never do what package egress could. Callers:
// cmd/fairway on a laptop, gateway/cluster in a cluster.
package parts
