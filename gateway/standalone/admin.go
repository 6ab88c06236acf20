package standalone

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/fairway-ai/fairway/gateway/xds"
)

// admin talks to Envoy's admin interface, on a unix socket.
type admin struct{ client *http.Client }

func newAdmin(socket string) *admin {
	return &admin{&http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
		},
	}}
}

func (a *admin) do(ctx context.Context, method, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://envoy"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("envoy's admin interface: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("envoy's admin interface: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("envoy's admin interface: %s: %s", path, resp.Status)
	}
	return body, nil
}

// listening returns the address of our listener once Envoy is ready.
func (a *admin) listening(ctx context.Context) (netip.AddrPort, error) {
	if _, err := a.do(ctx, http.MethodGet, "/ready"); err != nil {
		return netip.AddrPort{}, err
	}
	body, err := a.do(ctx, http.MethodGet, "/listeners?format=json")
	if err != nil {
		return netip.AddrPort{}, err
	}
	var reply struct {
		Statuses []struct {
			Name    string `json:"name"`
			Address struct {
				Socket struct {
					Address string `json:"address"`
					Port    uint16 `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return netip.AddrPort{}, fmt.Errorf("envoy's listeners: %w", err)
	}
	for _, l := range reply.Statuses {
		if l.Name != xds.ListenerName {
			continue
		}
		addr, err := netip.ParseAddr(l.Address.Socket.Address)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("envoy's listeners: %w", err)
		}
		return netip.AddrPortFrom(addr, l.Address.Socket.Port), nil
	}
	return netip.AddrPort{}, fmt.Errorf("envoy has no listener yet")
}

// active is the number of requests under way.
func (a *admin) active(ctx context.Context) (int, error) {
	body, err := a.do(ctx, http.MethodGet, "/stats?filter=^http\\.fairway\\.downstream_rq_active$")
	if err != nil {
		return 0, err
	}
	_, value, ok := strings.Cut(strings.TrimSpace(string(body)), ": ")
	if !ok {
		return 0, nil
	}
	return strconv.Atoi(value)
}

// drain closes the listeners at once, and connections after their current answer.
func (a *admin) drain(ctx context.Context) error {
	_, err := a.do(ctx, http.MethodPost, "/healthcheck/fail")
	if err != nil {
		return err
	}
	_, err = a.do(ctx, http.MethodPost, "/drain_listeners")
	return err
}
