// Package objectives knows what the objects InferenceObjective and InferenceModelRewrite
// say: how important a request is, and which of a pool's models it is for.
//
// [Store] answers for one request, without locks; it is filled by [FromKube] from a
// cluster, or by [Decode] from a file. The objects are read in both groups that they
// were published in; of each kind, the earlier group counts only where the later one is
// not installed.
//
// The package must never write to a cluster, and never hold up a start: without the
// definitions, or without permission, there are no objectives and no rewrites. Callers:
// cmd/fairway and gateway/cluster, which hand Store's methods to package epp.
package objectives
