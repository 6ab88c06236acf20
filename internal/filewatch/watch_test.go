package filewatch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestWatch: each way in which files change is noticed without polling.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// As a mounted ConfigMap: file -> ..data/file, ..data -> a directory.
	mount := func(name, text string) {
		must(os.Mkdir(filepath.Join(dir, name), 0o700))
		must(os.WriteFile(filepath.Join(dir, name, "file"), []byte(text), 0o600))
	}
	mount("v1", "1")
	must(os.Symlink("v1", filepath.Join(dir, "..data")))
	path := filepath.Join(dir, "file")
	must(os.Symlink(filepath.Join("..data", "file"), path))

	ctx, stop := context.WithCancel(t.Context())
	seen := make(chan string)
	done := make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, path, Options{Debounce: time.Millisecond, Poll: time.Hour}, func() {
			b, err := os.ReadFile(path)
			text := string(b)
			if err != nil {
				text = "gone"
			}
			select {
			case seen <- text:
			case <-ctx.Done():
			}
		})
	}()
	wait := func(want string) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			select {
			case got := <-seen:
				if got == want {
					return
				}
			case <-deadline:
				t.Fatalf("never saw %q", want)
			}
		}
	}
	wait("1")
	mount("v2", "2")
	must(os.Symlink("v2", filepath.Join(dir, "..data_tmp")))
	must(os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	wait("2")
	must(os.WriteFile(filepath.Join(dir, "v2", "file"), []byte("3"), 0o600))
	wait("3")
	must(os.Remove(path))
	wait("gone")
	must(os.WriteFile(path+".tmp", []byte("4"), 0o600))
	must(os.Rename(path+".tmp", path))
	wait("4")
	stop()
	<-done
}
