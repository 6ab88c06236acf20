// Package jsonlex is an incremental, validating lexer for one JSON object that
// arrives in chunks of any size. It reports structure to a [Handler] and writes
// decoded keys, strings and numbers straight into a buffer the Handler lends, so
// a caller pays only for the text it asked for.
//
// It accepts exactly what encoding/json accepts, up to a depth limit, and
// decodes strings the same way, except that bytes that are not UTF-8 are passed
// on as they are. It must never keep a reference to the bytes it was given nor
// hold memory that grows with the document. Callers: packages extproc/scan and
// extproc/observe.
package jsonlex
