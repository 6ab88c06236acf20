package kube

import (
	"fmt"
	"slices"
	"strings"

	inferencev1 "sigs.k8s.io/gateway-api-inference-extension/api/v1"

	"github.com/fairway-ai/fairway/pool/file"
)

const (
	maxModels    = 1024
	maxModelName = 512 // bytes
)

// Models are the models that a pool's annotation says it serves: exact names, or a
// prefix followed by "*". On error there are none.
func Models(p *inferencev1.InferencePool) ([]string, error) {
	value, ok := p.Annotations[file.ModelsAnnotation]
	if !ok {
		return nil, nil
	}
	if strings.Count(value, ",") >= maxModels {
		return nil, fmt.Errorf("%s: has more than %d models", file.ModelsAnnotation, maxModels)
	}
	var models []string
	for s := range strings.SplitSeq(value, ",") {
		s = strings.TrimSpace(s)
		switch {
		case s == "":
			return nil, fmt.Errorf("%s: has an empty model name; write names separated by commas", file.ModelsAnnotation)
		case len(s) > maxModelName:
			return nil, fmt.Errorf("%s: has a model name of %d bytes; at most %d are allowed", file.ModelsAnnotation, len(s), maxModelName)
		case strings.Contains(strings.TrimSuffix(s, "*"), "*"):
			return nil, fmt.Errorf("%s: model %.80q has a * that is not at its end", file.ModelsAnnotation, s)
		case !slices.Contains(models, s):
			models = append(models, s)
		}
	}
	return models, nil
}
