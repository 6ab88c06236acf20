//go:build !race

package profile_test

const raceDetector = false
