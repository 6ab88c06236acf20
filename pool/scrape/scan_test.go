package scrape

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// found is a sample as both parsers report it.
type found struct {
	Name   string
	Labels map[string]string
	Value  string // formatted, so that NaN equals NaN
}

func scanAll(t testing.TB, r io.Reader, bufSize int, wanted ...string) []found {
	t.Helper()
	n := newNames(wanted)
	var out []found
	err := scan(r, make([]byte, bufSize), 1<<30, &n, func(s sample) {
		f := found{Name: wanted[s.family], Labels: map[string]string{}, Value: fmt.Sprint(s.value)}
		for rest := s.labels; ; {
			rest = trimBlank(rest)
			if len(rest) > 0 && rest[0] == ',' {
				rest = trimBlank(rest[1:])
			}
			name, value, next, ok := nextLabel(rest)
			if !ok {
				break
			}
			if _, dup := f.Labels[string(name)]; dup {
				rest = next
				continue
			}
			f.Labels[string(name)] = string(unescape(value))
			if got, ok := label(s.labels, string(name)); !ok || !bytes.Equal(got, value) {
				t.Fatalf("label(%q) = %q, %v, want %q", name, got, ok, value)
			}
			rest = next
		}
		out = append(out, f)
	})
	if err != nil {
		t.Fatalf("scan: %v", err)
	}
	return out
}

// oracle is what Prometheus's own parser finds; ok is false when it refuses the
// page or when the page uses what is deliberately not supported here.
func oracle(page []byte, wanted ...string) (out []found, ok bool) {
	// It panics on lines such as " {}00".
	defer func() {
		if recover() != nil {
			out, ok = nil, false
		}
	}()
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		return nil, false
	}
	for _, name := range wanted {
		f := families[name]
		if f == nil {
			continue
		}
		for _, m := range f.Metric {
			x := found{Name: name, Labels: map[string]string{}}
			switch f.GetType() {
			case dto.MetricType_GAUGE:
				x.Value = fmt.Sprint(m.GetGauge().GetValue())
			case dto.MetricType_COUNTER:
				x.Value = fmt.Sprint(m.GetCounter().GetValue())
			case dto.MetricType_UNTYPED:
				x.Value = fmt.Sprint(m.GetUntyped().GetValue())
			default:
				return nil, false
			}
			for _, l := range m.Label {
				x.Labels[l.GetName()] = l.GetValue()
			}
			out = append(out, x)
		}
	}
	return out, true
}

// byName groups samples as the oracle does.
func byName(all []found, wanted ...string) (out []found) {
	for _, name := range wanted {
		for _, f := range all {
			if f.Name == name {
				out = append(out, f)
			}
		}
	}
	return out
}

func TestScanLines(t *testing.T) {
	sample := func(v string, labels ...string) []found {
		f := found{Name: "q", Labels: map[string]string{}, Value: v}
		for i := 0; i < len(labels); i += 2 {
			f.Labels[labels[i]] = labels[i+1]
		}
		return []found{f}
	}
	for name, tc := range map[string]struct {
		page string
		want []found
	}{
		"plain":                   {"q 1\n", sample("1")},
		"tabs and blanks":         {" \tq\t { a = \"b\" ,\tc=\"d\" , } \t 1.5 \t\n", sample("1.5", "a", "b", "c", "d")},
		"no labels in braces":     {"q{} 2\n", sample("2")},
		"timestamp":               {"q 3 1700000000000\n", sample("3")},
		"negative timestamp":      {"q 3 -5\n", sample("3")},
		"openmetrics timestamp":   {"q 3 1700000000.123\n", sample("3")},
		"exemplar":                {"q{a=\"b\"} 3 # {trace_id=\"x\"} 1 2.5\n", sample("3", "a", "b")},
		"timestamp and exemplar":  {"q 3 17.5 # {trace_id=\"x\"} 1\n", sample("3")},
		"escapes":                 {`q{a="x\\y\"z\n}"} 1` + "\n", sample("1", "a", "x\\y\"z\n}")},
		"brace and hash in value": {`q{a="}{,# "} 1` + "\n", sample("1", "a", "}{,# ")},
		"nan":                     {"q NaN\n", sample("NaN")},
		"inf":                     {"q +Inf\n", sample("+Inf")},
		"minus inf":               {"q -Inf\n", sample("-Inf")},
		"exponent":                {"q 1.25e+03\n", sample("1250")},
		"negative":                {"q -4\n", sample("-4")},
		"long integer":            {"q 12345678901234567890\n", sample("1.2345678901234567e+19")},
		"crlf":                    {"# TYPE q gauge\r\nq{a=\"b\"} 7\r\nr 1\r\n", sample("7", "a", "b")},
		"crlf and timestamp":      {"q 7 12\r\n", sample("7")},
		"openmetrics end":         {"q 1\n# EOF\n", sample("1")},
		"openmetrics end, cut":    {"q 1\n# EOF", sample("1")},
		"comment":                 {"# q 1\n#q 2\n", nil},
		"other with same start":   {"qq 1\nq_total 2\nq:r 3\n", nil},
		"no value":                {"q\nq \nq{a=\"b\"}\n", nil},
		"bad values":              {"q one\nq 0x1p3\nq 1_000\nq --1\nq 1,5\n", nil},
		"bad tail":                {"q 1 x\nq 1 2 3\n", nil},
		"bad labels":              {"q{a} 1\nq{a=} 1\nq{a=\"b} 1\nq{a=\"b\" 1\nq{=\"b\"} 1\nq{a=\"b\"c=\"d\"} 1\nq{,} 1\nq{1a=\"b\"} 1\n", nil},
		"bad escape":              {`q{a="\t"} 1` + "\n", nil},
		"cut escape":              {`q{a="\`, nil},
		"cut last line":           {"q 1\nq 23", sample("1")},
		"bad line, good line":     {"q{ 1\nq 5\n", sample("5")},
		"empty":                   {"", nil},
		"blank lines":             {"\n\n \n\r\nq 1\n\n", sample("1")},
		"NUL bytes":               {"\x00\x00\nq\x00 1\nq 2\n", sample("2")},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{64, 80, 1000} {
				for kind, r := range map[string]io.Reader{
					"whole":    strings.NewReader(tc.page),
					"one byte": iotest.OneByteReader(strings.NewReader(tc.page)),
					"data+EOF": iotest.DataErrReader(strings.NewReader(tc.page)),
				} {
					got := scanAll(t, r, size, "q", "other")
					if d := cmp.Diff(tc.want, got); d != "" {
						t.Errorf("buffer %d, %s (-want +got):\n%s", size, kind, d)
					}
				}
			}
		})
	}
}

func TestScanSkipsLongLines(t *testing.T) {
	long := `q{a="` + strings.Repeat("x", 300) + `"} 1` + "\n"
	for _, page := range []string{
		long + "q 2\n",
		strings.Repeat("y", 999) + "\n" + long + long + "q 2\n" + long,
		"q 2\n" + strings.Repeat("q 3 ", 500),
	} {
		for _, size := range []int{16, 17, 100, 256} {
			got := scanAll(t, strings.NewReader(page), size, "q")
			if len(got) != 1 || got[0].Value != "2" {
				t.Errorf("buffer %d: got %v, want the one short line", size, got)
			}
		}
	}
	// A line of exactly the buffer's size, line feed included, still fits.
	if got := scanAll(t, strings.NewReader("q 1234567890123\n"), 16, "q"); len(got) != 1 {
		t.Errorf("line that just fits: got %v", got)
	}
}

func TestScanBounds(t *testing.T) {
	n := newNames([]string{"q"})
	buf := make([]byte, 64)
	none := func(sample) {}
	endless := iotest.DataErrReader(io.MultiReader(strings.NewReader("q 1\n"), zeros{}))
	if err := scan(endless, buf, 1<<20, &n, none); !errors.Is(err, ErrPageTooLarge) {
		t.Errorf("endless page: %v, want ErrPageTooLarge", err)
	}
	if err := scan(strings.NewReader("q 1\n"), buf, 4, &n, none); err != nil {
		t.Errorf("page of exactly the limit: %v", err)
	}
	if err := scan(stuck{}, buf, 4, &n, none); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("reader without progress: %v, want io.ErrNoProgress", err)
	}
	if err := scan(iotest.ErrReader(io.ErrUnexpectedEOF), buf, 4, &n, none); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("failing reader: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

// TestScanAgreesWithPrometheus compares random pages with Prometheus's parser.
func TestScanAgreesWithPrometheus(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	wanted := []string{"vllm:a", "vllm:ab", "vllm:b_total", "z"}
	samples := 0
	for range 2000 {
		page := randomPage(r, wanted)
		want, ok := oracle(page, wanted...)
		if !ok {
			t.Fatalf("the generator made a page that the oracle refuses:\n%s", page)
		}
		got := byName(scanAll(t, bytes.NewReader(page), 512+r.IntN(512), wanted...), wanted...)
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("page:\n%s\n(-prometheus +scan):\n%s", page, d)
		}
		samples += len(got)
	}
	if samples < 5000 {
		t.Errorf("only %d samples were compared", samples)
	}
}

func randomPage(r *rand.Rand, wanted []string) []byte {
	var b bytes.Buffer
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	blank := func() string { return pick("", "", "", " ", "\t", "  ") }
	families := append([]string{"vllm:", "vllm:other", "go_goroutines", "vllm:abc"}, wanted...)
	r.Shuffle(len(families), func(i, j int) { families[i], families[j] = families[j], families[i] })
	for _, f := range families {
		if r.IntN(4) > 0 {
			fmt.Fprintf(&b, "# HELP %s some \\n help %s\n", f, pick("", "{", "\"q\"", "# x"))
			fmt.Fprintf(&b, "#%s TYPE %s %s\n", pick(" ", "  "), f, pick("gauge", "counter", "untyped"))
		}
		for range r.IntN(5) {
			b.WriteString(blank() + f)
			if r.IntN(3) > 0 {
				b.WriteString(blank() + "{")
				for i, n := 0, r.IntN(4); i < n; i++ {
					value := pick("", "0", "a b", `x\\y`, `\"q\"`, `n\nl`, "}{", "é", "#", "a,b=c", "\r")
					fmt.Fprintf(&b, "%sl%d%s=%s\"%s\"%s", blank(), i, blank(), blank(), value, blank())
					if i < n-1 || r.IntN(4) == 0 {
						b.WriteString(",")
					}
				}
				b.WriteString(blank() + "}" + blank())
			} else {
				b.WriteString(pick(" ", "\t"))
			}
			b.WriteString(pick("0", "1", "17.0", "NaN", "+Inf", "-Inf", "Inf", "1e3", "-2.5E-3", "1.7586264577368872e+09", ".5", "5.",
				"123456789", "1234567890", "18446744073709551616", fmt.Sprint(r.Float64())))
			if r.IntN(4) == 0 {
				fmt.Fprintf(&b, " %s%d", blank(), r.Int64N(math.MaxInt64))
			} else {
				b.WriteString(pick("", ""))
			}
			b.WriteString(pick("", "") + "\n")
		}
		b.WriteString(pick("", "", "\n", " \n", "# comment\n", "#\n"))
	}
	return b.Bytes()
}

func FuzzScan(f *testing.F) {
	page, err := os.ReadFile("testdata/vllm.prom")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(page[:2000], 7)
	f.Add([]byte("# TYPE q gauge\nq{a=\"b\\n\",} 1e3 5\nq NaN\n"), 3)
	f.Add([]byte("q{a=\"b\"} 1\r\nvllm:q 2\n# EOF"), 1)
	f.Add([]byte(" q\t{ } +Inf\nq 1 x\nq{ 1\n"), 1000)
	f.Add([]byte("q{\"a\"=\"b\"} 1\n{\"q\"} 2\n"), 10)
	f.Fuzz(func(t *testing.T, page []byte, chunk int) {
		wanted := []string{"q", "vllm:q", "vllm:num_requests_waiting"}
		whole := scanAll(t, bytes.NewReader(page), len(page)+16, wanted...)
		pieces := scanAll(t, &chunks{page, 1 + abs(chunk)%1000}, len(page)+16, wanted...)
		if d := cmp.Diff(whole, pieces); d != "" {
			t.Fatalf("the page read in pieces differs:\n%s", d)
		}
		if _, err := Read(bytes.NewReader(page), testEngine(t, "vllm"), 1<<20); err != nil && !errors.Is(err, ErrNoSeries) && !errors.Is(err, ErrPageTooLarge) {
			t.Fatalf("Read: %v", err)
		}
		// Quoted names, and names inside the braces, are the one part of the format
		// that is left out.
		if quotedName(page) {
			return
		}
		want, ok := oracle(page, wanted...)
		if !ok {
			return
		}
		if d := cmp.Diff(want, byName(whole, wanted...)); d != "" {
			t.Fatalf("(-prometheus +scan):\n%s", d)
		}
	})
}

func quotedName(page []byte) bool {
	last := byte('\n')
	for _, c := range page {
		if c == ' ' || c == '\t' {
			continue
		}
		if c == '{' && last == '\n' || c == '"' && (last == '{' || last == ',') {
			return true
		}
		last = c
	}
	return false
}

func abs(n int) int { return int(uint(max(n, -n)) >> 1) }

type chunks struct {
	b []byte
	n int
}

func (c *chunks) Read(b []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), c.n)], c.b)
	c.b = c.b[n:]
	return n, nil
}
