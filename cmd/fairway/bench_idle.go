package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairway-ai/fairway/bench"
)

func newBenchIdleCommand() *cobra.Command {
	var (
		o      bench.IdleOptions
		page   string
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "idle",
		Short: "Measure the CPU time of a picker that gets no requests",
		Long: `Measure the CPU time that the picker needs to know its endpoints while no request
comes. The metrics pages are served by another process. Linux only.`,
		Example: "  fairway bench idle --endpoints 1000 --page metrics.txt",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			switch {
			case o.Endpoints < 1 || o.Endpoints > 4096:
				return fmt.Errorf("--endpoints: %d must be 1 to 4096", o.Endpoints)
			case o.Duration < time.Second:
				return fmt.Errorf("--duration: %v must be at least 1s", o.Duration)
			}
			if page != "" {
				if o.Page, err = readPage(page); err != nil {
					return err
				}
			}
			if o.Self, err = os.Executable(); err != nil {
				return fmt.Errorf("the path of this program: %w", err)
			}
			r, err := bench.Idle(cmd.Context(), o)
			switch {
			case errors.Is(err, errors.ErrUnsupported):
				return fmt.Errorf("CPU times are read from /proc, which needs Linux: %w", err)
			case err != nil:
				return err
			case asJSON:
				return encodeEach(cmd.OutOrStdout(), []bench.IdleResult{r})
			}
			return bench.WriteIdle(cmd.OutOrStdout(), r)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Endpoints, "endpoints", 100, "number of model servers")
	f.DurationVar(&o.Duration, "duration", 20*time.Second, "how long to watch")
	f.StringVar(&page, "page", "", "`file` with the metrics page of every server (default a simulated server's)")
	f.BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

// maxPage bounds a metrics page, in bytes.
const maxPage = 16 << 20

func readPage(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--page: %w", err)
	}
	defer func() { _ = f.Close() }()
	page, err := io.ReadAll(io.LimitReader(f, maxPage+1))
	if err != nil {
		return nil, fmt.Errorf("--page: %w", err)
	}
	if len(page) > maxPage {
		return nil, fmt.Errorf("--page: %s is longer than %d bytes", name, maxPage)
	}
	return page, nil
}
