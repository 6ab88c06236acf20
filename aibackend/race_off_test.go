//go:build !race

package aibackend_test

const raceDetector = false
