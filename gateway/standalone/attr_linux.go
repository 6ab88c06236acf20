package standalone

import "syscall"

// childAttributes keep a terminal's Ctrl-C from reaching Envoy before it has
// drained, and end Envoy when this process is killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
