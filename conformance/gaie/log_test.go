package gaie

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// childLog is what package testing prints with -test.v=test2json; "^" is the marker.
const childLog = `^=== RUN   GAIE
    suite.go:1: Test Setup: Applying base manifests
^=== RUN   GAIE/Good
    good.go:1: --- FAIL: GAIE/Good (0.00s)
^=== RUN   GAIE/Good/step_one
no newline^=== NAME  GAIE/Good
    good.go:2: again
^--- PASS: GAIE/Good (1.50s)
^    --- PASS: GAIE/Good/step_one (1.00s)
^=== NAME  GAIE
^=== RUN   GAIE/Bad
^=== RUN   GAIE/Bad/Phase_2:_it_fails
    bad.go:1: expected 200, got 500
^--- FAIL: GAIE/Bad/Phase_2:_it_fails (0.20s)
^--- FAIL: GAIE/Bad (0.25s)
^=== RUN   GAIE/Left
    left.go:1: skipped
^--- SKIP: GAIE/Left (0.00s)
^=== NAME  GAIE
    suite.go:2: Generating the report
^--- FAIL: GAIE (2.00s)
FAIL
`

func follow(t *testing.T, log string) (*logReader, []Test, []string) {
	t.Helper()
	var list []Test
	var started []string
	l := &logReader{
		started: func(name string) { started = append(started, name) },
		ended:   func(test Test) { list = append(list, test) },
		line:    func(string, string) {},
	}
	if err := l.read(strings.NewReader(strings.ReplaceAll(log, "^", string(marker)))); err != nil {
		t.Fatal(err)
	}
	return l, list, started
}

func TestLogIsFollowed(t *testing.T) {
	l, list, started := follow(t, childLog)
	want := []Test{
		{Name: "Good", Outcome: Pass, Duration: 1500 * time.Millisecond,
			Log: "    good.go:1: --- FAIL: GAIE/Good (0.00s)\nno newline\n    good.go:2: again"},
		{Name: "Bad", Outcome: Fail, Duration: 250 * time.Millisecond, FailedSteps: []string{"Phase_2:_it_fails"},
			Log: "    bad.go:1: expected 200, got 500"},
		{Name: "Left", Outcome: Skip, Log: "    left.go:1: skipped"},
	}
	if d := cmp.Diff(want, list); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"Good", "Bad", "Left"}, started); d != "" {
		t.Error(d)
	}
	if !l.rootEnded || !l.rootFailed || len(l.unfinished()) != 0 {
		t.Errorf("root ended %t, failed %t, unfinished %v", l.rootEnded, l.rootFailed, l.unfinished())
	}
	if s := l.setup.String(); !strings.Contains(s, "Applying") || !strings.Contains(s, "Generating") {
		t.Errorf("the set-up's log is %q", s)
	}
}

func TestTestWithoutResultFailed(t *testing.T) {
	cut, _, _ := strings.Cut(childLog, "^--- FAIL: GAIE/Bad (")
	l, list, _ := follow(t, cut+"panic: test timed out after 1h0m0s\n")
	left := l.unfinished()
	if len(list) != 1 || len(left) != 1 || left[0].Name != "Bad" || left[0].Outcome != Fail || l.rootEnded {
		t.Errorf("ended %v, left %v, root ended %t", list, left, l.rootEnded)
	}
}

func TestLogIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString("^=== RUN   GAIE\n^=== RUN   GAIE/Loud\n")
	for range 3 * maxLog / maxLine {
		b.WriteString(strings.Repeat("x", 2*maxLine) + "\n")
	}
	b.WriteString("last words\n^--- PASS: GAIE/Loud (1.00s)\n^--- PASS: GAIE (1.00s)\n")
	_, list, _ := follow(t, b.String())
	if len(list) != 1 || len(list[0].Log) > maxLog || !strings.HasSuffix(list[0].Log, "last words") {
		t.Fatalf("%d tests, first log of %d bytes", len(list), len(list[0].Log))
	}
}

func FuzzLog(f *testing.F) {
	f.Add(strings.ReplaceAll(childLog, "^", string(marker)))
	f.Add("\x16--- PASS: GAIE/X (9999999999999999s)\n\x16\x16=== RUN GAIE/")
	f.Fuzz(func(t *testing.T, log string) {
		l, list, started := follow(t, log)
		if open := len(l.unfinished()); len(list)+open > len(started) {
			t.Errorf("%d tests started, %d ended, %d are open", len(started), len(list), open)
		}
	})
}
