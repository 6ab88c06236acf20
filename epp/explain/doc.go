// Package explain keeps the latest decisions as data and shows them: what every
// filter and scorer found for every endpoint, and how the request went.
//
// A [Ring] has a fixed number of places whose memory is used again and again. It
// holds no prompt text and no header value. Of a large pool it keeps the
// endpoints that came nearest to being picked ([MaxRows]).
//
// The package must never make a request wait for a reader: every place has its
// own lock, held only to copy. Callers: package epp (writes), cmd/fairway (shows).
package explain
