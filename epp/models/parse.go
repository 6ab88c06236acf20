package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxPage bounds a list, in bytes.
	maxPage = 1 << 20
	// maxModels bounds how many models an endpoint may list.
	maxModels = 4096
	// maxText bounds each text of a model, in bytes.
	maxText = 256
)

// Model is what an endpoint says of a model that it serves.
type Model struct {
	ID           string `json:"id"`
	Object       string `json:"object,omitempty"`
	Created      int64  `json:"created,omitempty"`
	OwnedBy      string `json:"owned_by,omitempty"`
	ShutdownDate string `json:"shutdown_date,omitempty"`
	// Adapter says that it is a LoRA adapter of another model.
	Adapter bool `json:"-"`
}

// Parse reads an OpenAI list of models. Entries without a usable ID are left out; of two
// with the same ID the first counts.
func Parse(page []byte) ([]Model, error) {
	var list struct {
		Data *[]json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(page, &list); err != nil {
		return nil, errors.New("the list of models is no JSON object with a list data")
	}
	switch {
	case list.Data == nil:
		return nil, errors.New("the list of models has no data")
	case len(*list.Data) > maxModels:
		return nil, fmt.Errorf("the list has %d models: at most %d are read", len(*list.Data), maxModels)
	}
	models := make([]Model, 0, len(*list.Data))
	seen := make(map[string]bool, len(*list.Data))
	for _, entry := range *list.Data {
		m, ok := parseModel(entry)
		if !ok || seen[m.ID] {
			continue
		}
		seen[m.ID] = true
		models = append(models, m)
	}
	return models, nil
}

// parseModel reads an entry of a list, whose fields but the ID may be anything.
func parseModel(entry json.RawMessage) (m Model, ok bool) {
	var fields struct {
		ID           any `json:"id"`
		Object       any `json:"object"`
		Created      any `json:"created"`
		OwnedBy      any `json:"owned_by"`
		ShutdownDate any `json:"shutdown_date"`
		Parent       any `json:"parent"`
	}
	if json.Unmarshal(entry, &fields) != nil {
		return m, false
	}
	m = Model{ID: text(fields.ID), Object: text(fields.Object), OwnedBy: text(fields.OwnedBy), ShutdownDate: text(fields.ShutdownDate)}
	if n, is := fields.Created.(float64); is && n >= 0 && n <= 1<<53 {
		m.Created = int64(math.Trunc(n))
	}
	parent, is := fields.Parent.(string)
	m.Adapter = is && parent != ""
	return m, m.ID != ""
}

// text is a text of a model, "" for what is none, too long, or nothing to print.
func text(v any) string {
	s, ok := v.(string)
	if !ok || len(s) > maxText || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return ""
	}
	return strings.Clone(s) // not a part of the page
}
