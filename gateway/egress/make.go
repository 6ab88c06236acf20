package egress

import (
	"context"
	"fmt"

	"github.com/fairway-ai/fairway/aibackend/credentials"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// NewCredential makes what signs for b. The caller runs and closes it.
func NewCredential(ctx context.Context, b *airoute.Backend, d credentials.Deps) (credentials.Credential, error) {
	d.Name = b.Label
	c, err := credentials.New(ctx, b.Credentials, d)
	if err != nil {
		return nil, fmt.Errorf("backend %q: credentials: %w", b.Label, err)
	}
	return c, nil
}

// ForBackend is what translates for b and signs with s.
func ForBackend(b *airoute.Backend, s Signer) Backend {
	return Backend{
		Name: b.Name, Label: b.Label, Provider: b.Provider, Host: b.Authority(), Signer: s,
		SetHeaders: b.SetHeaders, AddHeaders: b.AddHeaders, RemoveHeaders: b.RemoveHeaders,
	}
}
