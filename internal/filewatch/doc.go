// Package filewatch says when a file may have changed: when it was written, replaced by
// a rename, or reached through a symbolic link that was swapped, as in a mounted
// ConfigMap.
//
// It must never read the file: what changed, and whether it did, the caller finds out.
// Callers: package pool/file, cmd/fairway.
package filewatch
