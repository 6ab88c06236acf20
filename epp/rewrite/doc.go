// Package rewrite gives the answer to a request whose model's name was replaced the
// name that the client knows: in the fields model, message.model and response.model of
// a JSON answer and of each event of a stream, where they hold exactly the name that
// the model server was sent.
//
// [Names] does that to bytes as they come, [Restorer] to the response of an ext_proc
// stream. All other bytes stay as they are, wherever the answer is cut, and nothing is
// kept but a string that may be the name.
//
// The package must never fail an answer: what it does not understand passes. Caller:
// package epp.
package rewrite
