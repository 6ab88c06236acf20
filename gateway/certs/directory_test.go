package certs

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"crypto"
)

// put writes a certificate that a issued, with its key and the authority.
func put(t *testing.T, dir string, a *authority, k *clock, names []string) {
	t.Helper()
	leaf, err := a.issue(names, k.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := (&authority{key: leaf.PrivateKey.(crypto.Signer)}).encodeKey()
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string][]byte{"tls.crt": encode(leaf.Leaf), "tls.key": key, "ca.crt": encode(a.bundle...)})
}

// write replaces files the way Kubernetes does: a link to a folder is swapped.
func write(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	data, err := os.MkdirTemp(dir, "..data-")
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(data, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
		link := filepath.Join(dir, name)
		if _, err := os.Lstat(link); err != nil {
			if err := os.Symlink(filepath.Join("..data", name), link); err != nil {
				t.Fatal(err)
			}
		}
	}
	next := filepath.Join(dir, "..next")
	if err := os.Symlink(filepath.Base(data), next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
}

func TestDirectoryIsFollowed(t *testing.T) {
	k, dir, log := newClock(), t.TempDir(), new(logbook)
	a, _ := testAuthority(t, k)
	put(t, dir, a, k, names())
	var changes atomic.Int32
	d, err := NewDirectory(DirectoryOptions{
		Path: dir, Names: names()[3:], Interval: 2 * time.Millisecond, Now: k.Now, Log: log.logger(),
		OnChange: func() { changes.Add(1) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(d.CA(), encode(a.cert)) {
		t.Error("CA is not ca.crt")
	}
	first := mustShake(t, d, d.CA(), k.Now())
	started(t, d)

	// Renewed by the same authority.
	put(t, dir, a, k, names())
	eventually(t, "the new certificate is served", func() bool { return !mustShake(t, d, d.CA(), k.Now()).Equal(first) })
	if changes.Load() != 0 {
		t.Error("a change of authority was reported where there was none")
	}

	// Unusable ones are reported once and change nothing.
	good := mustShake(t, d, d.CA(), k.Now())
	b, bKey := testAuthority(t, k)
	for what, files := range map[string]map[string][]byte{
		"x509: certificate signed by unknown authority": {"ca.crt": encode(b.cert)},
		"does not match": {"tls.key": bKey},
		"ca.crt: ":       {"ca.crt": []byte("none")},
		"longer than":    {"ca.crt": make([]byte, maxPEM+1)},
	} {
		old := map[string][]byte{}
		for _, name := range [...]string{"tls.crt", "tls.key", "ca.crt"} {
			if old[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		bad := map[string][]byte{}
		for name := range old {
			bad[name] = old[name]
		}
		for name := range files {
			bad[name] = files[name]
		}
		write(t, dir, bad)
		eventually(t, what+" is reported", func() bool { return strings.Contains(log.String(), what) })
		if !mustShake(t, d, encode(a.cert), k.Now()).Equal(good) {
			t.Errorf("%s: the certificate in use was given up", what)
		}
		write(t, dir, old)
		eventually(t, "the old files are read again", func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return bytes.Equal(d.seen[2], old["ca.crt"]) && bytes.Equal(d.seen[1], old["tls.key"])
		})
	}
	if n := strings.Count(log.String(), "unknown authority"); n != 1 {
		t.Errorf("the same mistake was reported %d times", n)
	}

	// Another authority.
	put(t, dir, b, k, names())
	eventually(t, "the change of authority is reported", func() bool { return changes.Load() == 1 })
	mustShake(t, d, encode(b.cert), k.Now())
	if strings.Contains(log.String(), "PRIVATE") {
		t.Error("a key was logged")
	}
}

func TestDirectoryIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(dir string, k *clock)
		want  string
	}{
		"missing":  {func(dir string, _ *clock) { _ = os.Remove(filepath.Join(dir, "ca.crt")) }, "ca.crt: open"},
		"expired":  {func(_ string, k *clock) { k.advance(leafLife + day) }, "expired"},
		"no names": {func(string, *clock) {}, "tls.crt: x509: certificate is valid for"},
	} {
		t.Run(name, func(t *testing.T) {
			k, dir := newClock(), t.TempDir()
			a, _ := testAuthority(t, k)
			served := names()
			if name == "no names" {
				served = []string{"elsewhere.example.com"}
			}
			put(t, dir, a, k, served)
			tt.spoil(dir, k)
			_, err := NewDirectory(DirectoryOptions{Path: dir, Names: names(), Now: k.Now})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("error %v, want one that says %q and names the directory", err, tt.want)
			}
		})
	}
}
