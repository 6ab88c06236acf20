package tokens

import "time"

// Clock is the time an [Engine] lives in.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f once, d from now, on its own goroutine. stop prevents
	// that and reports whether it was in time to.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// systemClock is the real time.
type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}
