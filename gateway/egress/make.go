package egress

import (
	"context"

	"github.com/fairway-ai/fairway/aibackend"
	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// ForBackend is what translates for b and signs with s.
func ForBackend(b *airoute.Backend, s Signer) Backend {
	out := Backend{
		Name: b.Name, Label: b.Label, Provider: b.Provider, Pool: b.Pool, Signer: s,
		SetHeaders: b.SetHeaders, AddHeaders: b.AddHeaders, RemoveHeaders: b.RemoveHeaders, RemoveBody: b.RemoveBody,
	}
	if b.Host != "" {
		out.Host = b.Authority()
	}
	for _, f := range b.SetBody {
		out.SetBody = append(out.SetBody, aibackend.Field{Name: f.Name, Value: f.Value})
	}
	return out
}

// unmade is the Signer of a backend whose credential cannot be made: it signs nothing.
type unmade struct{ err error }

// Sign implements Signer.
func (u unmade) Sign(context.Context, *credentials.Request) error { return u.err }
