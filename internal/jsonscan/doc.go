// Package jsonscan finds where JSON values end, in memory that is there already, and
// checks them on the way: it accepts what encoding/json accepts, reads each byte once,
// strings eight bytes at a time, and keeps nothing.
//
// Functions take a document and a position and return the position behind what is
// there, and -1 if nothing valid is. They must never allocate, decode, or look outside
// of the document. Callers: packages epp/tokens and aibackend/internal/jsonx. What
// arrives in chunks is read by package extproc/internal/jsonlex instead.
package jsonscan
