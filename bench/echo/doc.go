// Package echo has the smallest ext_proc servers there can be: they answer every
// message and look at nothing. They are what the real server's cost is measured
// against, and must never do more. Caller: package bench.
package echo
