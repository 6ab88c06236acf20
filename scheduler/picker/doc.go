// Package picker holds the pickers of llm-d's catalogue: the last step of a
// configured profile, which turns the candidates' total scores into a ranking.
//
// A picker must never look at anything but the candidates, their totals and the
// cycle's random numbers, and never filters: an endpoint it leaves out is one
// too many, not one that must not serve. Caller: scheduler.Profile, built by
// package epp/config (and by sim/replay for comparisons).
package picker
