// Package jsonx walks, edits and writes JSON without building trees.
//
// Walking trusts that the document is valid: call [Valid] first, once per document.
// On an invalid one the walk ends early or gives odd slices; it never panics and
// never reads outside of the document.
//
// It must never know a schema. Callers: the schema packages of aibackend.
package jsonx
