// Package config reads an EndpointPickerConfig, llm-d's configuration file, and
// builds from it what the endpoint picker needs: the scheduling policy, and the
// parameters of the parts that Fairway has built in.
//
// Reading is strict. An unknown field, an unknown plugin, or a plugin that
// Fairway does not have is an error that names the place in the file and what
// to do; nothing is ever accepted and then left out in silence. What is accepted
// but changes nothing, or will go away, is a [Warning].
//
// The package must never do I/O: the caller reads the file and opens what it
// names. Callers: cmd/fairway, package gateway.
package config
