//go:build race

package profile_test

// raceDetector makes sync.Pool forget at random, so allocations do not count.
const raceDetector = true
