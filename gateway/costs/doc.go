// Package costs turns the tokens that a backend reported into the numbers that a rule
// of an AIRoute asks for, under the names it gives them: for access logs and for rate
// limits that count tokens instead of requests.
//
// A cost is a kind of token or an expression in CEL. [Compile] checks them once, for
// each rule; [Program.Eval] computes them, as often as wanted and concurrently. An
// expression is written by whoever may write an AIRoute and sees a model's name that a
// client chose, so both are bounded: the text in length and depth, an evaluation in
// what it may cost. An expression that cannot be computed counts as 0 and is reported,
// never an error for the client.
//
// The package does no I/O, reads no clock and keeps no state. Callers: airoute, which
// compiles, and egress, which evaluates.
package costs
