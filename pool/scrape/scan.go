package scrape

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

const (
	// bufferSize is the scan buffer, and so the longest line that is read; longer
	// ones are skipped.
	bufferSize = 64 << 10
	// DefaultMaxPage is how much of a page is read before it is given up.
	DefaultMaxPage = 10 << 20
)

// ErrPageTooLarge says that the page is larger than the limit.
var ErrPageTooLarge = errors.New("the page is too large")

// sample is one line of a page. Its slices point into the scan buffer: they are
// valid until the visitor returns.
type sample struct {
	family int    // index into the wanted names
	labels []byte // between the braces, unparsed; known to be well-formed
	value  float64
}

// names are the metric names that a scan looks for.
type names struct {
	all    [][]byte
	prefix []byte // what all of them start with
}

func newNames(all []string) names {
	n := names{all: make([][]byte, len(all))}
	for i, s := range all {
		n.all[i] = []byte(s)
		if i == 0 {
			n.prefix = n.all[0]
		}
		for !bytes.HasPrefix(n.all[i], n.prefix) {
			n.prefix = n.prefix[:len(n.prefix)-1]
		}
	}
	return n
}

// match returns the index of the name that the line starts with and what follows
// it, or -1.
func (n *names) match(line []byte) (int, []byte) {
	if len(n.all) == 0 || !bytes.HasPrefix(line, n.prefix) {
		return -1, nil
	}
	for i, name := range n.all {
		if len(line) > len(name) && bytes.HasPrefix(line, name) && endsName(line[len(name)]) {
			return i, line[len(name):]
		}
	}
	return -1, nil
}

func endsName(c byte) bool { return c == '{' || c == ' ' || c == '\t' }

// scan reads a page in the Prometheus text format (or OpenMetrics) and calls
// visit for every well-formed sample of a wanted name. Lines that are malformed,
// or longer than buf, are skipped: one bad series says nothing about the others.
// A last line without a line feed is skipped too, since it may have been cut.
// It reads at most limit bytes and then returns [ErrPageTooLarge].
func scan(r io.Reader, buf []byte, limit int64, want *names, visit func(sample)) error {
	var (
		kept    int  // unread bytes at the start of buf
		skip    bool // inside a line that is too long
		total   int64
		retries int
	)
	for {
		n, err := r.Read(buf[kept:])
		if total += int64(n); total > limit {
			return fmt.Errorf("%w: over %d bytes", ErrPageTooLarge, limit)
		}
		if n == 0 && err == nil {
			if retries++; retries > 100 {
				return io.ErrNoProgress
			}
			continue
		}
		retries = 0
		rest := buf[:kept+n]
		seen := kept // bytes known to hold no line feed
		for {
			end := bytes.IndexByte(rest[seen:], '\n')
			if end < 0 {
				break
			}
			line := rest[:seen+end]
			rest, seen = rest[seen+end+1:], 0
			if skip {
				skip = false
				continue
			}
			if s, ok := parseLine(line, want); ok {
				visit(s)
			}
		}
		kept = copy(buf, rest)
		if kept == len(buf) {
			kept, skip = 0, true
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// parseLine parses a line without its line feed. It refuses comments, blank
// lines and series that nobody wants.
func parseLine(line []byte, want *names) (s sample, ok bool) {
	line = trimBlank(line)
	family, rest := want.match(line)
	if family < 0 {
		return sample{}, false
	}
	s.family = family
	rest = trimBlank(rest)
	if len(rest) > 0 && rest[0] == '{' {
		if s.labels, rest, ok = cutLabels(rest[1:]); !ok {
			return sample{}, false
		}
		rest = trimBlank(rest)
	}
	rest = bytes.TrimSuffix(rest, []byte{'\r'})
	text, rest := cutBlank(rest)
	if s.value, ok = parseFloat(text); !ok {
		return sample{}, false
	}
	return s, validTail(rest)
}

// validTail reports whether b, which follows a value, is nothing, a timestamp, or
// one and an OpenMetrics exemplar.
func validTail(b []byte) bool {
	text, rest := cutBlank(trimBlank(b))
	if len(text) == 0 || text[0] == '#' {
		return true
	}
	if _, ok := parseFloat(text); !ok {
		return false
	}
	rest = trimBlank(rest)
	return len(rest) == 0 || rest[0] == '#'
}

func trimBlank(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	return b
}

// cutBlank splits b before its first blank.
func cutBlank(b []byte) (word, rest []byte) {
	for i, c := range b {
		if c == ' ' || c == '\t' {
			return b[:i], b[i:]
		}
	}
	return b, nil
}

// parseFloat parses a sample's value without allocating.
func parseFloat(b []byte) (float64, bool) {
	if len(b) == 0 || len(b) > 400 {
		return 0, false
	}
	if len(b) < 10 {
		n, plain := 0, true
		for _, c := range b {
			if c < '0' || c > '9' {
				plain = false
				break
			}
			n = n*10 + int(c-'0')
		}
		if plain {
			return float64(n), true
		}
	}
	// Go's hexadecimal floats and digit separators are not in the format.
	if bytes.ContainsAny(b, "pP_") {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(b), 64)
	return v, err == nil
}

// count turns a sample into a number of requests, tokens or blocks.
func count(v float64) (int64, bool) {
	if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return 0, false
	}
	return int64(min(v, math.MaxInt32)), true
}
