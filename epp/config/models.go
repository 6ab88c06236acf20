package config

import "github.com/fairway-ai/fairway/epp/models"

const (
	modelsSourceType    = "models-data-source"
	modelsExtractorType = "models-data-extractor"
	modelsResponderType = "models-responder"
)

// ModelsSource are the parameters of models-data-source.
type ModelsSource struct {
	// Scheme is http or https, Path the list's path.
	Scheme string `json:"scheme"`
	Path   string `json:"path"`
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool `json:"insecureSkipVerify"`
	// CACertPath verifies the server; ClientCertPath and ClientKeyPath identify the
	// client, both or none.
	CACertPath     string `json:"caCertPath"`
	ClientCertPath string `json:"clientCertPath"`
	ClientKeyPath  string `json:"clientKeyPath"`
	// Interval is the time between two readings; 0 is the default.
	Interval Duration `json:"interval"`
}

func defaultModelsSource() ModelsSource {
	return ModelsSource{Scheme: "http", Path: models.Path, InsecureSkipVerify: true, Interval: Duration{models.DefaultInterval}}
}

// Validate reports the first parameter that makes no sense.
func (s ModelsSource) Validate() error {
	return MetricsSource{
		Scheme: s.Scheme, Path: s.Path, Interval: s.Interval, ClientCertPath: s.ClientCertPath, ClientKeyPath: s.ClientKeyPath,
	}.Validate()
}

// modelsResponder is a models-responder, modelsExtractor a models-data-extractor; they
// have no parameters.
type (
	modelsResponder struct{}
	modelsExtractor struct{}
)

// listModels finds out whether the endpoints' models are listed, and where the lists are.
func (l *loader) listModels() {
	source := defaultModelsSource()
	var declared []*plugin
	responds := false
	for _, p := range l.plugins {
		switch b := p.built.(type) {
		case ModelsSource:
			l.once(p, func() { source = b })
			declared = append(declared, p)
		case modelsExtractor:
			declared = append(declared, p)
		case modelsResponder:
			l.once(p, func() { responds = true })
		}
	}
	if responds {
		l.config.Models = &source
		return
	}
	for _, p := range declared {
		l.warn(p.node, p.path, "has no effect: only %s reads which models endpoints serve", modelsResponderType)
	}
}
