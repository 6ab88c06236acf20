// Package refresh keeps one token fresh.
//
// A [Cache] hands out the token it has while that is valid, and replaces it in the
// background well before it ends: when a fifth of its life is left, or five
// minutes, whichever is more, but not before half of its life is over; a little
// earlier still by chance, so that many replicas do not ask at once. There is
// never more than one fetch under way. A failed fetch is repeated after a wait
// that doubles up to a bound; meanwhile the old token stays in use until it ends,
// and after that callers get the last error at once, without asking again.
//
// The package knows nothing of tokens but when they end. Caller: package
// credentials.
package refresh
