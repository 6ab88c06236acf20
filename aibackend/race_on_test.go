//go:build race

package aibackend_test

// raceDetector is true where allocations are not the code's own.
const raceDetector = true
