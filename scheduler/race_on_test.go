//go:build race

package scheduler

// histories is smaller under the race detector, which is ten times slower and
// has nothing to find in a test of one goroutine.
const histories = 50_000

// raceDetector makes sync.Pool forget at random, so allocations do not count.
const raceDetector = true
