//go:build !linux

package bench

import "time"

// threadTime is the time by the clock: a thread's own is not known here.
func threadTime() time.Duration { return time.Since(started) }
