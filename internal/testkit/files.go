package testkit

import (
	"os"
	"path/filepath"
	"testing"
)

// Files makes a folder that lasts as long as the test. What it returns writes a file
// there, and returns the file's path.
func Files(t testing.TB) func(name, text string) (path string) {
	t.Helper()
	dir := t.TempDir()
	return func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
}
