// Package forms finds a few short fields of a multipart/form-data body as its chunks
// arrive, and where in the body they are. It keeps nothing else of it: neither files
// nor fields that were not asked for.
//
// It is strict. A body that two readers could read in two ways is refused: one with a
// boundary after a lone line feed, with folded headers, with a wanted field that is
// there twice or is a file, and so on. Otherwise a request could be routed by one
// model and served by another.
//
// It must never hold a reference to the bytes it was given, and its memory is bounded
// by the limits given. Callers: package extproc/scan, and package aibackend.
package forms
