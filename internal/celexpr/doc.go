// Package celexpr compiles expressions in CEL that somebody wrote into a
// configuration, and that then run for every request: each is bounded in length and
// depth, and in what an evaluation may cost whatever its values are. What is wrong with
// one is said with the line and the column.
//
// The package must never evaluate anything or know what the variables mean: the caller
// brings them. Callers: packages epp/report and gateway/costs.
package celexpr
