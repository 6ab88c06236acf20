//go:build race

package extproc

// raceDetector is true because the detector makes pools drop at random.
const raceDetector = true
