// Package models knows which models endpoints say they serve.
//
// A [Set] asks each endpoint of several pools for its list, GET /v1/models, rarely, and
// keeps what it said last for as long as the endpoint is in its pool. The [Lists] of a
// pool answer two questions: which models there are at all, for a client that asks the
// picker ([Lists.Answer]); and which endpoints may serve a request, before a policy
// chooses among them ([Lists.Filter]): those that list its model, as far as anybody
// does, so that a LoRA adapter that only some have loaded is not asked for elsewhere.
//
// Every byte of a list is hostile: its size, the number of its models and the length of
// each field are bounded, and what is no list leaves the endpoint as one that has not
// said. The package must never fail a request: with nothing known, all endpoints stay.
// Callers: package epp, which asks, and cmd/fairway, package epp/run and
// gateway/cluster, which run it.
package models
