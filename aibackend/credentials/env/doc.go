// Package env finds the AI providers that a process's environment configures, in
// the variables that the providers' own SDKs read, so that `fairway run` needs no
// file.
//
// It reads variables through a function and asks whether files exist; it opens no
// file, sends nothing, and puts no secret's value in what it returns: a key is
// named by its variable and read by package credentials. What is configured by
// half is reported as a warning that names the missing variable. Caller:
// cmd/fairway.
package env
