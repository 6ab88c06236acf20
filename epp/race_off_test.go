//go:build !race

package epp

const raceDetector = false
