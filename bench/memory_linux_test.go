package bench

import "testing"

func TestParseMeminfo(t *testing.T) {
	for text, want := range map[string]int64{
		"MemTotal:       24 kB\nMemFree: 1 kB\nMemAvailable:   20 kB\n": 20 << 10,
		"MemTotal: 24 kB\n":     -1,
		"MemAvailable:":         -1,
		"MemAvailable: many kB": -1,
	} {
		got, ok := parseMeminfo([]byte(text))
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
