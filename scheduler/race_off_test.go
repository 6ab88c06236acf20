//go:build !race

package scheduler

const (
	histories    = 1_000_000
	raceDetector = false
)
