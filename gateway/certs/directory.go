package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// DirectoryOptions configure [NewDirectory]. Only Path is required.
type DirectoryOptions struct {
	// Path is the directory with tls.crt, tls.key and ca.crt.
	Path string
	// Names are names by which clients call this server: the certificate must be valid
	// for each of them.
	Names []string
	// Interval is the time between two looks at the files; 10 seconds if 0.
	Interval time.Duration
	// OnChange is called, one call at a time, after CA has changed.
	OnChange func()
	// Now is the time; the system's if nil.
	Now func() time.Time
	// Log takes what changes and what fails; nil discards it.
	Log *slog.Logger
}

// Directory is a [Source] in files. It looks at them from time to time instead of
// being told: a mounted Secret changes by a swap of links that notifications miss.
type Directory struct {
	o DirectoryOptions

	mu   sync.Mutex
	cert *tls.Certificate
	ca   []byte
	seen [3][]byte // what the files held when last looked at, usable or not
}

// files of a directory, in the order of Directory.seen.
var files = [3]string{"tls.crt", "tls.key", "ca.crt"}

// NewDirectory returns a source with the certificates in a directory. It fails if
// they cannot be read, do not belong together, are out of date, or lack a name.
func NewDirectory(o DirectoryOptions) (*Directory, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Interval <= 0 {
		o.Interval = 10 * time.Second
	}
	d := &Directory{o: o}
	if _, err := d.load(); err != nil {
		return nil, fmt.Errorf("certificates in %s: %w", o.Path, err)
	}
	return d, nil
}

// TLSConfig implements [Source].
func (d *Directory) TLSConfig() *tls.Config {
	return serverConfig(func() (*tls.Certificate, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.cert, nil
	})
}

// CA implements [Source].
func (d *Directory) CA() []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ca
}

// NeedLeaderElection says that every replica runs it.
func (d *Directory) NeedLeaderElection() bool { return false }

// Start implements [Source]: it looks at the files again and again.
func (d *Directory) Start(ctx context.Context) error {
	every(ctx, d.o.Interval, d.follow)
	return nil
}

// follow reads the files if they have changed, and says what came of it.
func (d *Directory) follow() {
	before := d.CA()
	loaded, err := d.load()
	if err != nil {
		d.o.Log.Error("the new certificates cannot be used, those in use stay", "dir", d.o.Path, "error", err)
		return
	}
	if !loaded {
		return
	}
	d.o.Log.Info("the certificates were read again", "dir", d.o.Path)
	if d.o.OnChange != nil && !bytes.Equal(before, d.CA()) {
		d.o.OnChange()
	}
}

// load reads the files and uses them if they differ from what was read last. It
// reports the same unusable files only once.
func (d *Directory) load() (loaded bool, err error) {
	var read [3][]byte
	for i, name := range files {
		if read[i], err = readFile(filepath.Join(d.o.Path, name)); err != nil {
			return false, d.once(read, fmt.Errorf("%s: %w", name, err))
		}
	}
	if d.same(read) {
		return false, nil
	}
	cert, err := tls.X509KeyPair(read[0], read[1])
	if err != nil {
		return false, d.once(read, fmt.Errorf("tls.crt and tls.key: %w", err))
	}
	if err := d.verify(&cert, read[2]); err != nil {
		return false, d.once(read, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cert, d.ca, d.seen = &cert, read[2], read
	return true, nil
}

func (d *Directory) same(read [3][]byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range read {
		if d.seen[i] == nil || !bytes.Equal(d.seen[i], read[i]) {
			return false
		}
	}
	return true
}

// once returns err, or nil if these files were reported before.
func (d *Directory) once(read [3][]byte, err error) error {
	for i := range read {
		if read[i] == nil {
			read[i] = []byte{} // missing
		}
	}
	if d.same(read) {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = read
	return err
}

// verify checks that a client that trusts ca accepts cert under every name.
func (d *Directory) verify(cert *tls.Certificate, ca []byte) error {
	authorities, err := parseCertificates(ca)
	if err != nil {
		return fmt.Errorf("ca.crt: %w", err)
	}
	o := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: d.o.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, c := range authorities {
		o.Roots.AddCert(c)
	}
	for _, der := range cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("tls.crt: %w", err)
		}
		o.Intermediates.AddCert(c)
	}
	if _, err := cert.Leaf.Verify(o); err != nil {
		return fmt.Errorf("tls.crt against ca.crt: %w", err)
	}
	for _, name := range d.o.Names {
		if err := cert.Leaf.VerifyHostname(name); err != nil {
			return fmt.Errorf("tls.crt: %w", err)
		}
	}
	return nil
}

// readFile reads a file that is no longer than maxPEM.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxPEM {
		return nil, fmt.Errorf("longer than %d bytes", maxPEM)
	}
	return b, nil
}
