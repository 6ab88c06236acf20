package run

import (
	"fmt"
	"log/slog"

	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/epp/models"
	"github.com/fairway-ai/fairway/pool/scrape"
)

// Models reads which models endpoints serve, as a configuration says; nil when nobody
// asks. An error names the plugin.
func Models(c *config.Config, log *slog.Logger) (*models.Set, error) {
	s := c.Models
	if s == nil {
		return nil, nil
	}
	reader, err := models.NewReader(scrape.ClientOptions{
		Scheme: s.Scheme, Path: s.Path, InsecureSkipVerify: s.InsecureSkipVerify,
		CAFile: s.CACertPath, CertFile: s.ClientCertPath, KeyFile: s.ClientKeyPath,
	})
	if err != nil {
		return nil, fmt.Errorf("models-data-source: %w", err)
	}
	return models.New(models.Options{Reader: reader, Interval: s.Interval.Duration, Log: log}), nil
}
