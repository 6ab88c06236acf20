package epp

import (
	"net/http"
	"strings"

	"github.com/fairway-ai/fairway/epp/models"
	"github.com/fairway-ai/fairway/extproc"
)

// listing are the lists that answer a request, nil for one that is to be picked for: of
// GET /v1/models, those of the pool that the gateway names, else of all.
func (p *Picker) listing(req *extproc.Request) []*models.Lists {
	if req.Method != http.MethodGet {
		return nil
	}
	path, _, _ := strings.Cut(req.Path, "?")
	if strings.TrimSuffix(path, "/") != models.Path {
		return nil
	}
	rs := p.routes.Load()
	if req.Pool != "" {
		if r := rs.byName[req.Pool]; r != nil && r.lists != nil {
			return []*models.Lists{r.lists}
		}
		return nil
	}
	var all []*models.Lists
	for _, r := range rs.all {
		if r.lists != nil && !r.onlyNamed {
			all = append(all, r.lists)
		}
	}
	return all
}

// listed answers with the models of lists. While no endpoint has said what it serves, a
// client is to come again: it may keep an empty list.
func listed(req *extproc.Request, lists []*models.Lists) (extproc.Pick, error) {
	body, ok := models.Answer(lists)
	if !ok {
		return extproc.Pick{}, &extproc.Rejection{
			Status: http.StatusServiceUnavailable, Code: "models_unknown", Message: "no endpoint has said yet which models it serves",
		}
	}
	headers := []extproc.Header{{Name: "content-type", Value: "application/json"}, {Name: extproc.RequestIDHeader, Value: req.ID}}
	return extproc.Pick{Change: extproc.Answer(http.StatusOK, headers, body, "fairway_models")}, nil
}
