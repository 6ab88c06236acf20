package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairway-ai/fairway/epp/explain"
)

// maxExplanation bounds what is read of an answer, in bytes.
const maxExplanation = 64 << 20

func newExplainCommand() *cobra.Command {
	var addr string
	var asJSON bool
	var count int
	cmd := &cobra.Command{
		Use:   "explain [REQUEST-ID]",
		Short: "Show why requests went where they did",
		Long: `Show the latest decisions of a running picker, or, given a request's ID, what
every filter and scorer found for every endpoint and how the request went.

A request's ID is in the x-request-id header of its response. The picker is that of
fairway run, gateway or epp; only its latest decisions are kept.`,
		Example: `  fairway explain
  fairway explain -n 100
  fairway explain 7d1f1c0e-6b9e-4d0a-9f0e-2f7b4a1f6a52
  fairway explain --addr http://picker:9090 --json`,
		ValidArgsFunction: completeRequests(&addr),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return fmt.Errorf("%s takes one request ID, and got %d arguments", cmd.CommandPath(), len(args))
			case count < 1:
				return fmt.Errorf("--count: %d must be 1 or more", count)
			}
			path := explain.Path + "?n=" + strconv.Itoa(count)
			if len(args) == 1 {
				path = explain.Path + "/" + url.PathEscape(args[0])
			}
			body, err := getDecisions(cmd.Context(), addr, path)
			if err != nil {
				return err
			}
			return showDecisions(cmd.OutOrStdout(), body, len(args) == 1, asJSON)
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "http://127.0.0.1:9090", "`URL` of the picker's metrics port")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON as the picker answers it")
	cmd.Flags().IntVarP(&count, "count", "n", 20, "number of decisions to list")
	return cmd
}

// getDecisions reads path from the picker at addr.
func getDecisions(ctx context.Context, addr, path string) ([]byte, error) {
	if !strings.Contains(addr, "://") {
		addr = "http://" + addr
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(addr, "/")+path, nil)
	if err != nil {
		return nil, fmt.Errorf("--addr: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no picker answers at %s; is it running, and is --addr its metrics port? %w", addr, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxExplanation))
	if err != nil {
		return nil, fmt.Errorf("read from %s: %w", addr, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(clip(strings.TrimSpace(string(body)), 200) + " (" + resp.Status + " from " + addr + ")")
	}
	return body, nil
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// showDecisions prints one decision, or a list of them.
func showDecisions(w io.Writer, body []byte, one, asJSON bool) error {
	if asJSON {
		_, err := w.Write(body)
		return err
	}
	if one {
		var d explain.Decision
		if err := json.Unmarshal(body, &d); err != nil {
			return fmt.Errorf("the answer is no decision: %w", err)
		}
		if err := d.Check(); err != nil {
			return err
		}
		return explain.Render(w, &d)
	}
	var ds []explain.Decision
	if err := json.Unmarshal(body, &ds); err != nil {
		return fmt.Errorf("the answer is no list of decisions: %w", err)
	}
	if len(ds) == 0 {
		_, err := fmt.Fprintln(w, "No request has been scheduled yet.")
		return err
	}
	return explain.RenderList(w, ds)
}
