// Package grpcwire reads a stream of gRPC messages that arrives in chunks of any
// size: the five bytes before each message, and the message's fields as protobuf
// writes them. It builds nothing and keeps nothing: a [Handler] says of each field
// whether its content matters, and gets numbers and bytes as they come.
//
// It knows no message type. Compressed messages are not read: they are an error in a
// request, and passed over in a response. So are groups an error, which no message
// of proto3 has.
//
// The package must never keep a reference to the bytes it was given, nor hold memory
// that grows with them. Callers: packages extproc/scan and extproc/observe.
package grpcwire
