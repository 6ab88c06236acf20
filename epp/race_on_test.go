//go:build race

package epp

// raceDetector is true because the detector makes pools drop at random.
const raceDetector = true
