package bench

import (
	"bytes"
	"os"
	"strconv"
)

// freeMemory is the memory that can be had without swapping, in bytes.
func freeMemory() (int64, bool) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, false
	}
	return parseMeminfo(b)
}

// parseMeminfo reads MemAvailable of proc(5)'s meminfo.
func parseMeminfo(b []byte) (int64, bool) {
	_, rest, found := bytes.Cut(b, []byte("MemAvailable:"))
	if !found {
		return 0, false
	}
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0, false
	}
	kb, err := strconv.ParseInt(string(fields[0]), 10, 64)
	return kb << 10, err == nil
}
