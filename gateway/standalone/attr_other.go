//go:build !linux

package standalone

import "syscall"

// childAttributes keep a terminal's Ctrl-C from reaching Envoy before it has
// drained.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
