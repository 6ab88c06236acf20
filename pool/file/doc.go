// Package file reads pools from a file: InferencePool objects and a list of
// endpoints in the shape of llm-d's file discovery, in one YAML file of several
// documents. A list of endpoints alone is one pool.
//
// [Load] reads it once, [Watch] whenever it changes. Everything wrong with a file
// is reported at once, with line and field; a file with an error yields no
// configuration at all, so that the caller keeps the last good one. The package
// must never start half of a configuration, nor touch a running pool: it returns
// data. Callers: cmd/fairway and package gateway.
package file
