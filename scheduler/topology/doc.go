// Package topology compares where endpoints are: what the topology affinity filter
// and scorer have in common. It reads endpoints' labels and must never do anything
// else. Callers: packages scheduler/filter and scheduler/scorer.
package topology
