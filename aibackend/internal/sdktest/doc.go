// Package sdktest holds the tests of aibackend that need the providers' SDKs: what is
// sent is read by their types, what clients get by their clients. They are apart from
// the other tests because the SDKs are large and would be instrumented for fuzzing.
//
// It has no code of its own, and nothing imports it.
package sdktest
