package file

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type report struct {
	c   *Config
	err error
}

// startWatch watches path until the test ends.
func startWatch(t *testing.T, l *Loader, path string) <-chan report {
	t.Helper()
	l.Debounce = 5 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	out, done := make(chan report, 100), make(chan error, 1)
	go func() {
		done <- l.Watch(ctx, path, func(c *Config, err error) { out <- report{c, err} })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return out
}

// until waits for a report that ok likes. Half-written states may come before it.
func until(t *testing.T, reports <-chan report, what string, ok func(report) bool) {
	t.Helper()
	timeout := time.After(30 * time.Second)
	var last report
	for {
		select {
		case last = <-reports:
			if (last.c == nil) == (last.err == nil) {
				t.Fatalf("%s: config %v and error %v", what, last.c, last.err)
			}
			if ok(last) {
				return
			}
		case <-timeout:
			t.Fatalf("%s: not reported; last was %+v", what, last)
		}
	}
}

func hasEndpoint(id string) func(report) bool {
	return func(r report) bool {
		return r.c != nil && len(r.c.Pools[0].Specs) == 1 && r.c.Pools[0].Specs[0].ID == "default/"+id
	}
}

func failsWith(part string) func(report) bool {
	return func(r report) bool { return r.err != nil && strings.Contains(r.err.Error(), part) }
}

func content(name string) []byte {
	return []byte("endpoints:\n- {name: " + name + ", address: 10.0.0.1, port: 1}\n")
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWatchWritesAndRenames(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f.yaml")
	reports := startWatch(t, &Loader{Poll: time.Hour}, path)
	until(t, reports, "absent at first", failsWith("no such file"))
	write(t, path, content("a"))
	until(t, reports, "created", hasEndpoint("a"))
	write(t, path, content("b"))
	until(t, reports, "written", hasEndpoint("b"))

	write(t, path, []byte("endpoints: 5\n"))
	until(t, reports, "bad edit", failsWith("endpoints: must be a list, is a number"))
	write(t, path, content("b"))
	until(t, reports, "repaired", hasEndpoint("b"))

	// As editors and configuration managers do it, several times in a row.
	for _, name := range []string{"c", "d"} {
		write(t, filepath.Join(dir, "new"), content(name))
		if err := os.Rename(filepath.Join(dir, "new"), path); err != nil {
			t.Fatal(err)
		}
		until(t, reports, "renamed over it", hasEndpoint(name))
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	until(t, reports, "removed", failsWith("no such file"))

	// What does not concern the file is not reported.
	write(t, path, content("e"))
	until(t, reports, "created again", hasEndpoint("e"))
	write(t, path, content("e"))
	write(t, filepath.Join(dir, "other"), content("x"))
	write(t, path, content("g"))
	r := <-reports
	if !hasEndpoint("g")(r) && r.err == nil {
		t.Errorf("a write without a change was reported: %+v", r.c)
	}
}

// TestWatchConfigMap swaps the links as the kubelet does.
func TestWatchConfigMap(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	version := func(name string) {
		t.Helper()
		data := filepath.Join(dir, "..v_"+name)
		must(os.Mkdir(data, 0o700))
		write(t, filepath.Join(data, "f.yaml"), content(name))
		must(os.Symlink("..v_"+name, filepath.Join(dir, "..data_tmp")))
		must(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	version("a")
	path := filepath.Join(dir, "f.yaml")
	must(os.Symlink("..data/f.yaml", path))
	reports := startWatch(t, &Loader{Poll: time.Hour}, path)
	until(t, reports, "at first", hasEndpoint("a"))
	for _, name := range []string{"b", "c", "d"} {
		version(name)
		until(t, reports, "links swapped to "+name, hasEndpoint(name))
	}
}

// TestWatchLinkTarget changes the file behind a link into another directory.
func TestWatchLinkTarget(t *testing.T) {
	target := filepath.Join(t.TempDir(), "real.yaml")
	write(t, target, content("a"))
	path := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	reports := startWatch(t, &Loader{Poll: time.Hour}, path)
	until(t, reports, "at first", hasEndpoint("a"))
	write(t, target, content("b"))
	until(t, reports, "target written", hasEndpoint("b"))
}

func TestWatchPolls(t *testing.T) {
	// A directory that does not exist when the watch starts notifies nothing.
	dir := filepath.Join(t.TempDir(), "later")
	path := filepath.Join(dir, "f.yaml")
	reports := startWatch(t, &Loader{Poll: 5 * time.Millisecond}, path)
	until(t, reports, "absent at first", failsWith("no such file"))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, path, content("a"))
	until(t, reports, "there at last", hasEndpoint("a"))
}
