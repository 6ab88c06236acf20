// Package profile holds the profile handlers of llm-d's catalogue, under their
// names: policies that run one or several scheduler.Profiles for a request.
//
//   - [Disagg] picks endpoints for the stages of disaggregated serving: one that
//     answers, and, where a [Decider] says so, one that processes the prompt and some
//     that encode images.
//   - [ByHeader] runs the profile that a request header names.
//   - [DataParallel] picks one rank of a pod that is reached at one port.
//
// A handler is immutable and never looks at an endpoint itself: profiles do. It must
// never do I/O or keep anything of a cycle. Caller: package epp/config, which builds
// them.
package profile
