//go:build !linux

package bench

import (
	"errors"
	"syscall"
	"time"
)

// cpuTime is known on Linux only.
func cpuTime(int) (time.Duration, error) { return 0, errors.ErrUnsupported }

// childAttributes keep a terminal's Ctrl-C from ending a child in mid-measurement.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
