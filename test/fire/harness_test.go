package fire

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairway-ai/fairway/internal/testkit"
	"github.com/fairway-ai/fairway/test/realenvoy"
)

// patience bounds every wait; nothing waits that long unless it fails.
const patience = 60 * time.Second

// fairwayPath is cmd/fairway, built by TestMain; empty when that failed.
var fairwayPath string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "fw")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "fairway")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/fairway").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	fairwayPath = path
	return m.Run()
}

// eventually waits until f returns nil.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	realenvoy.Eventually(t, patience, what, f)
}

// freePort is a port that nobody listens on, and that stays the test's own, also between
// two processes that listen on it.
func freePort(t *testing.T) string {
	t.Helper()
	return strconv.Itoa(testkit.FreePort(t))
}

// shortDir is a folder with a path that leaves room for a socket's name.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "fw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// output keeps what a process writes, and shows it when the test fails, which it does
// when the process panicked.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func newOutput(t *testing.T, of string) *output {
	o := &output{}
	t.Cleanup(func() {
		for _, bad := range []string{"panic: ", "fatal error: ", "DATA RACE"} {
			if strings.Contains(o.String(), bad) {
				t.Errorf("%s wrote %q", of, bad)
			}
		}
		if t.Failed() {
			t.Logf("%s wrote:\n%s", of, o)
		}
	})
	return o
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// says waits until text has been written.
func (o *output) says(t *testing.T, text string) {
	t.Helper()
	eventually(t, "it says "+strconv.Quote(text), func() error {
		if !strings.Contains(o.String(), text) {
			return fmt.Errorf("it did not")
		}
		return nil
	})
}

// writeFile replaces a file in one step, as careful editors do.
func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// memory is a field of a process's status, such as VmHWM, in MiB.
func memory(t *testing.T, pid int, field string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), field+":")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); !found || err != nil {
		t.Fatalf("%s of process %d: %v", field, pid, err)
	}
	return kib >> 10
}
