// Package plugin is for filters, scorers and pickers of one's own: types that an
// EndpointPickerConfig may then name like the built-in ones, with parameters.
//
// A [Type] is a value, made by [Filter], [Scorer] or [Picker]; there is no registry
// to add to. Hand the types to package epp/run, which runs a picker with them, or to
// config.Options, which reads a configuration that names them.
//
// What a plugin must be is in package scheduler: it must not do I/O, read a clock,
// block, or keep a scheduler.Cycle or its slices. It is called for every request, from
// many goroutines at once; time and randomness come from the cycle.
//
// The package must never know a built-in type. Callers: package epp/config, and
// programs of others.
package plugin
