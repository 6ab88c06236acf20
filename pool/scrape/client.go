package scrape

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// ClientOptions says how metrics pages are reached. The zero value is plain HTTP,
// /metrics, on the port that serves requests.
type ClientOptions struct {
	// Scheme is http (the default) or https.
	Scheme string
	// Path is the page's path; empty means /metrics.
	Path string
	// Port replaces the endpoint's port when it is not 0.
	Port int
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool
	// CAFile is a PEM bundle that signs the servers' certificates; empty means the
	// system's.
	CAFile string
	// CertFile and KeyFile are a client certificate, both or none.
	CertFile, KeyFile string
	// ServerName replaces the endpoint's address in certificate checks.
	ServerName string
	// MaxPage is how many bytes of a page are read; 0 means [DefaultMaxPage].
	MaxPage int64
}

// Client fetches metrics pages, and with Get pages of other kinds. It has connections of its own, one kept per
// endpoint, follows no redirect and uses no proxy. It is safe for concurrent use.
type Client struct {
	scheme, path string
	port         int
	maxPage      int64
	transport    *http.Transport
	dialer       *net.Dialer
	buffers      sync.Pool // of *[]byte, bufferSize long
}

// NewClient checks the options and reads the files they name. An error names the
// option.
func NewClient(o ClientOptions) (*Client, error) {
	c := &Client{scheme: o.Scheme, path: o.Path, port: o.Port, maxPage: o.MaxPage}
	switch c.scheme {
	case "":
		c.scheme = "http"
	case "http", "https":
	default:
		return nil, fmt.Errorf("scheme %q: must be http or https", o.Scheme)
	}
	if c.path == "" {
		c.path = "/metrics"
	}
	if c.path[0] != '/' {
		return nil, fmt.Errorf("path %q: must start with a slash", o.Path)
	}
	if c.port < 0 || c.port > 65535 {
		return nil, fmt.Errorf("port %d: must be from 1 to 65535, or 0 for the endpoint's own", o.Port)
	}
	if c.maxPage <= 0 {
		c.maxPage = DefaultMaxPage
	}
	t, err := o.tls()
	if err != nil {
		return nil, err
	}
	c.dialer = &net.Dialer{KeepAlive: 30 * time.Second}
	c.transport = &http.Transport{
		DialContext:         c.dialer.DialContext,
		TLSClientConfig:     t,
		TLSHandshakeTimeout: 5 * time.Second,
		// A page is read every few seconds even when the fleet is idle, so that the
		// connection is worth keeping for longer than that.
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    1,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		ReadBufferSize:         16 << 10,
		WriteBufferSize:        1 << 10,
	}
	c.buffers.New = func() any { b := make([]byte, bufferSize); return &b }
	return c, nil
}

func (o *ClientOptions) tls() (*tls.Config, error) {
	t := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: o.InsecureSkipVerify,
		ServerName:         o.ServerName,
	}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("CA file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA file %s: holds no PEM certificate", o.CAFile)
		}
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("client certificate: name both the certificate file and the key file, or neither")
	}
	if o.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// Close closes the kept connections.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// URL is where the page of the endpoint at address ("ip:port") is.
func (c *Client) URL(address string) string {
	if c.port != 0 {
		if host, _, err := net.SplitHostPort(address); err == nil {
			address = net.JoinHostPort(host, strconv.Itoa(c.port))
		}
	}
	return c.scheme + "://" + address + c.path
}

// StatusError is an answer that is no page.
type StatusError struct{ Code int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("the page answered HTTP %d %s", e.Code, http.StatusText(e.Code))
}

// Fetch reads the page at the URL. It ends when ctx does; a page larger than the
// limit is an error. No error contains the URL, which may hold credentials.
func (c *Client) Fetch(ctx context.Context, pageURL string, e *Engine) (Values, error) {
	resp, err := c.open(ctx, pageURL, "text/plain;version=0.0.4")
	if err != nil {
		return Values{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	buf := c.buffers.Get().(*[]byte)
	defer c.buffers.Put(buf)
	return read(resp.Body, *buf, e, c.maxPage)
}

// Get reads a page of another kind, in JSON, as it is. It ends when ctx does; a page
// larger than the limit is an error.
func (c *Client) Get(ctx context.Context, pageURL string) ([]byte, error) {
	resp, err := c.open(ctx, pageURL, "application/json")
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	page, err := io.ReadAll(io.LimitReader(resp.Body, c.maxPage+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the page: %w", withoutURL(err))
	case int64(len(page)) > c.maxPage:
		return nil, fmt.Errorf("%w: over %d bytes", ErrPageTooLarge, c.maxPage)
	}
	return page, nil
}

// open asks for a page and returns an answer that is one, as far as its head says. The
// caller closes its body.
func (c *Client) open(ctx context.Context, pageURL, accept string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, pageURL, nil)
	if err != nil {
		return nil, errors.New("the page's URL is malformed")
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", "fairway")
	if u := req.URL.User; u != nil {
		password, _ := u.Password()
		req.SetBasicAuth(u.Username(), password)
	}
	// The transport alone, without http.Client: no redirects, no cookies.
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	switch enc := resp.Header.Get("Content-Encoding"); {
	case resp.StatusCode != http.StatusOK:
		err = &StatusError{Code: resp.StatusCode}
	case enc != "" && enc != "identity":
		err = fmt.Errorf("the page is encoded as %.20q; only identity is read", enc)
	case resp.ContentLength > c.maxPage:
		err = fmt.Errorf("%w: %d bytes", ErrPageTooLarge, resp.ContentLength)
	default:
		return resp, nil
	}
	_ = resp.Body.Close()
	return nil, err
}

func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// Probe opens and closes a connection to the address. A nil error means that
// something listens there.
func (c *Client) Probe(ctx context.Context, address string) error {
	conn, err := c.dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// Unreachable reports whether the error says that nothing listens at the address
// or that no route leads there. A timeout does not say so: the server may be busy.
func Unreachable(err error) bool {
	for _, no := range []error{
		syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN,
	} {
		if errors.Is(err, no) {
			return true
		}
	}
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// SameHost reports whether the page's URL leads to the address itself, so that a
// refused scrape is a refused request.
func SameHost(pageURL, address string) bool {
	u, err := url.Parse(pageURL)
	return err == nil && u.Host == address
}

// Answered reports whether the error says that the server is there and answers,
// only not with a metrics page of its engine.
func Answered(err error) bool {
	_, status := errors.AsType[*StatusError](err)
	return status || errors.Is(err, ErrNoSeries) || errors.Is(err, ErrPageTooLarge)
}
