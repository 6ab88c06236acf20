package credentials

import "context"

// New builds the credential that c describes. Only a configuration that can never
// work is an error; a Secret that is not there yet, or an identity provider that
// does not answer, shows in the credential's status. New reads what is local and
// sends nothing.
func New(ctx context.Context, c Config, d Deps) (Credential, error) {
	cred, err := build(ctx, c, d.withDefaults())
	if err != nil {
		return nil, err
	}
	return cred, nil
}

func build(ctx context.Context, c Config, d Deps) (Credential, *Error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	switch c.Type {
	case TypeAPIKey:
		m, err := apiKeyMaker(*c.APIKey)
		if err != nil {
			return nil, err
		}
		return newManaged(ctx, m, d)
	case TypeAWS:
		return newAWS(ctx, *c.AWS, d)
	case TypeAzure:
		return newAzure(ctx, *c.Azure, d)
	case TypeGCP:
		return newGCP(ctx, *c.GCP, d)
	case TypeFromRequestHeader:
		return newPassOn(*c.FromRequestHeader)
	}
	return &noCredential{newPassive()}, nil
}

// check makes sure that the member that Type names is set, and no other.
func (c Config) check() *Error {
	set := map[Type]bool{
		TypeAPIKey: c.APIKey != nil, TypeAWS: c.AWS != nil, TypeAzure: c.Azure != nil,
		TypeGCP: c.GCP != nil, TypeFromRequestHeader: c.FromRequestHeader != nil,
	}
	if _, known := set[c.Type]; !known && c.Type != TypeNone {
		return failf(ReasonInvalidConfig, "%q is not a type of credential", c.Type)
	}
	for t, is := range set {
		if is && t != c.Type {
			return failf(ReasonInvalidConfig, "the type is %s, but %s is set", c.Type, t)
		}
		if !is && t == c.Type {
			return failf(ReasonInvalidConfig, "the type is %s, but %s is not set", c.Type, t)
		}
	}
	return nil
}

// one makes sure that at most one of several exclusive sources is set.
func one(what string, sources ...bool) *Error {
	n := 0
	for _, set := range sources {
		if set {
			n++
		}
	}
	if n > 1 {
		return failf(ReasonInvalidConfig, "%s: at most one source of credentials may be set, and %d are", what, n)
	}
	return nil
}
