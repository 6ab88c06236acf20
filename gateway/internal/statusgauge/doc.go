// Package statusgauge counts what the status of objects says, for metrics.
//
// It must never read or write an object. Callers: the controllers of package gateway.
package statusgauge
