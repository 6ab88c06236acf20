package xds

import (
	"encoding/json"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// Model is a model of the catalogue.
type Model struct {
	Name, OwnedBy string
	// Created is in seconds since 1970.
	Created int64
}

// catalogue answers GET /v1/models, in the shape of the API that the client speaks.
func catalogue(models []Model) []*routev3.Route {
	type openAI struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Created int64  `json:"created"`
		OwnedBy string `json:"owned_by"`
	}
	type anthropic struct {
		Type        string `json:"type"`
		ID          string `json:"id"`
		DisplayName string `json:"display_name"`
		CreatedAt   string `json:"created_at"`
	}
	forOpenAI, forAnthropic := []openAI{}, []anthropic{}
	for _, m := range models {
		forOpenAI = append(forOpenAI, openAI{m.Name, "model", m.Created, m.OwnedBy})
		forAnthropic = append(forAnthropic, anthropic{"model", m.Name, m.Name, time.Unix(m.Created, 0).UTC().Format(time.RFC3339)})
	}
	list := map[string]any{"data": forAnthropic, "has_more": false, "first_id": nil, "last_id": nil}
	if n := len(models); n > 0 {
		list["first_id"], list["last_id"] = models[0].Name, models[n-1].Name
	}
	return []*routev3.Route{
		answer("models for Anthropic clients", list, &routev3.HeaderMatcher{
			Name: "anthropic-version", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}),
		answer("models", map[string]any{"object": "list", "data": forOpenAI}),
	}
}

// answer is a route that Envoy answers itself.
func answer(name string, body any, match ...*routev3.HeaderMatcher) *routev3.Route {
	text, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("xds: %v", err)) // strings and numbers
	}
	return &routev3.Route{
		Name: name,
		Match: &routev3.RouteMatch{
			PathSpecifier: &routev3.RouteMatch_Path{Path: "/v1/models"},
			Headers: append(match, &routev3.HeaderMatcher{
				Name: ":method", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: exact("GET")},
			}),
		},
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: 200, Body: &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: text}},
		}},
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: "content-type", Value: "application/json"},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}},
		// The picker has no say in it.
		TypedPerFilterConfig: map[string]*anypb.Any{
			"envoy.filters.http.ext_proc": pack(&extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Disabled{Disabled: true}}),
		},
	}
}

// MaxCatalogue is how long the answer to GET /v1/models may get, in bytes: what route
// configurations must allow Envoy to answer by itself.
const MaxCatalogue = 4 << 20
