package gaie

import (
	"bufio"
	"errors"
	"io"
	"regexp"
	"strings"
	"time"
)

const (
	// marker precedes package testing's own lines in the log, so that no test's
	// output is taken for one.
	marker = '\x16'
	// maxLine bounds a line of the log; the rest of a longer one is cut off.
	maxLine = 64 << 10
	// maxLog bounds what is kept of one test's log, in bytes; the oldest lines go.
	maxLog = 1 << 20
)

// framing matches package testing's lines: "=== RUN   Name", "--- PASS: Name (1.02s)".
var framing = regexp.MustCompile(`^ *(?:=== (RUN|NAME|CONT|PAUSE) +|--- (PASS|FAIL|SKIP): )(\S*)(?: \(([0-9.]+)s\))?$`)

// logReader follows the log of a child. It is not safe for concurrent use.
type logReader struct {
	// started and ended are called for the tests below the root; line for every line
	// of text with the test it belongs to, "" for none.
	started func(name string)
	ended   func(Test)
	line    func(name, text string)

	current string
	open    map[string]*Test
	logs    map[string]*tail
	// setup is the root's own log: what happened outside of tests.
	setup tail
	// rootFailed is whether the root test, and with it the part, failed; rootEnded
	// whether its result was seen at all.
	rootFailed, rootEnded bool
}

// read follows r to its end.
func (l *logReader) read(r io.Reader) error {
	l.open, l.logs = map[string]*Test{}, map[string]*tail{}
	b := bufio.NewReaderSize(r, maxLine)
	for {
		line, cut, err := b.ReadLine()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		text := string(line)
		for cut && err == nil {
			_, cut, err = b.ReadLine()
		}
		// A line may end in a marked one, when what was printed had no newline.
		before, marked, found := strings.Cut(text, string(marker))
		if before != "" {
			l.text(before)
		}
		for found {
			marked, text, found = strings.Cut(marked, string(marker))
			l.framed(marked)
			marked = text
		}
	}
}

// framed handles a line that package testing marked.
func (l *logReader) framed(text string) {
	m := framing.FindStringSubmatch(text)
	if m == nil {
		if text != "" {
			l.text(text)
		}
		return
	}
	verb, name := m[1]+m[2], m[3]
	top, sub := topOf(name)
	switch verb {
	case "RUN", "NAME", "CONT":
		l.current = name
		if verb == "RUN" && top != "" && sub == "" {
			l.open[top], l.logs[top] = &Test{Name: top}, &tail{}
			l.started(top)
		}
	case "PASS", "FAIL", "SKIP":
		l.current = root
		seconds, _ := time.ParseDuration(m[4] + "s") // the expression admits only numbers, or none
		l.result(name, verb, seconds)
	}
}

// result notes how a test ended.
func (l *logReader) result(name, verb string, took time.Duration) {
	top, sub := topOf(name)
	t := l.open[top]
	switch {
	case name == root:
		l.rootEnded, l.rootFailed = true, verb == "FAIL"
	case t == nil:
	case sub != "" && verb == "FAIL":
		t.FailedSteps = append(t.FailedSteps, sub)
	case sub == "":
		t.Outcome, t.Duration, t.Log = Outcome(strings.ToLower(verb)), took, l.logs[top].String()
		delete(l.open, top)
		delete(l.logs, top)
		l.ended(*t)
	}
}

// text handles a line of a test's own.
func (l *logReader) text(text string) {
	top, _ := topOf(l.current)
	if log := l.logs[top]; log != nil {
		log.add(text)
	} else {
		l.setup.add(text)
	}
	l.line(top, text)
}

// unfinished lists the tests that began and have no result.
func (l *logReader) unfinished() []Test {
	var list []Test
	for name, t := range l.open {
		t.Outcome, t.Log = Fail, l.logs[name].String()
		list = append(list, *t)
	}
	return list
}

// topOf splits "GAIE/Name/step/substep" in Name and the steps; both are empty for the
// root and for strangers.
func topOf(name string) (top, sub string) {
	rest, ok := strings.CutPrefix(name, root+"/")
	if !ok {
		return "", ""
	}
	top, sub, _ = strings.Cut(rest, "/")
	return top, sub
}

// tail keeps the end of a text.
type tail struct {
	lines []string
	bytes int
}

func (t *tail) add(line string) {
	t.lines = append(t.lines, line)
	for t.bytes += len(line) + 1; t.bytes > maxLog; t.lines = t.lines[1:] {
		t.bytes -= len(t.lines[0]) + 1
	}
}

func (t *tail) String() string { return strings.Join(t.lines, "\n") }
