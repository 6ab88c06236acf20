package bench

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	for _, c := range []struct {
		name, stat string
		want       time.Duration
		bad        bool
	}{
		{name: "plain", stat: "7 (envoy) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 9 9 20 0 4 0 100", want: 2 * time.Second},
		{name: "hostile name", stat: "7 (a) S 1) b) R 1 7 7 0 -1 4194304 100 0 0 0 1 2 9 9 20 0", want: 30 * time.Millisecond},
		{name: "short", stat: "7 (envoy) S 1 7", bad: true},
		{name: "empty", stat: "", bad: true},
		{name: "no number", stat: "7 (envoy) S 1 7 7 0 -1 4194304 100 0 0 0 x 50 9 9", bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := parseStat([]byte(c.stat))
			if (err != nil) != c.bad || got != c.want {
				t.Errorf("got %v, %v; want %v, error %v", got, err, c.want, c.bad)
			}
		})
	}
	if _, err := cpuTime(os.Getpid()); err != nil {
		t.Errorf("of this process: %v", err)
	}
}
