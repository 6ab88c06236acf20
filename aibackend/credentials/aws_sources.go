package credentials

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	awscreds "github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

// fetch gets credentials from the source, and then from one role after another.
// All SDK objects are new each time: they hold caches of their own.
func (m *awsMaker) fetch(ctx context.Context, values []string) (awsKeys, time.Time, error) {
	cfg := aws.Config{
		Region: m.c.Region, HTTPClient: m.d.HTTPClient,
		// The refresh has a backoff of its own.
		Retryer: func() aws.Retryer { return aws.NopRetryer{} },
	}
	if cfg.Region == "" {
		cfg.Region = m.regionFromEnv()
	}
	got, err := m.source(ctx, &cfg, values)
	if err != nil {
		return awsKeys{}, time.Time{}, err
	}
	for _, r := range m.c.AssumeRole {
		if cfg.Region == "" {
			return awsKeys{}, time.Time{}, failf(ReasonInvalidConfig, "assuming role %s needs a region; set it (aws.region)", r.RoleARN)
		}
		cfg.Credentials = awscreds.StaticCredentialsProvider{Value: got}
		p := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), r.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = orDefault(r.SessionName, defaultSession)
			o.Duration = r.Duration
			if r.ExternalID != "" {
				o.ExternalID = &r.ExternalID
			}
		})
		next, e := p.Retrieve(ctx)
		if e != nil {
			return awsKeys{}, time.Time{}, awsTrouble(e, "assuming role "+r.RoleARN)
		}
		got = next
	}
	keys, expires, err := keysOf(got, cfg.Region)
	if err != nil {
		return awsKeys{}, time.Time{}, err
	}
	return keys, expires, nil
}

// source gets the first credentials. It may set cfg.Region.
func (m *awsMaker) source(ctx context.Context, cfg *aws.Config, values []string) (aws.Credentials, *Error) {
	switch c := m.c; {
	case c.Static != nil:
		v := aws.Credentials{AccessKeyID: values[0], SecretAccessKey: values[1]}
		if len(values) > 2 {
			v.SessionToken = values[2]
		}
		return v, nil
	case c.SharedFile != nil:
		p, wrong := parseSharedFile(values[0], c.SharedFile.Profile)
		if wrong != "" {
			return aws.Credentials{}, failf(ReasonInvalidSecret, "the AWS credentials file cannot be used: %s", wrong)
		}
		if cfg.Region == "" {
			cfg.Region = p.region
		}
		return aws.Credentials{AccessKeyID: p.id, SecretAccessKey: p.secret, SessionToken: p.token}, nil
	case c.WebIdentity != nil:
		return m.webIdentity(ctx, *cfg, values)
	case c.Container != nil:
		return m.container(ctx)
	}
	return m.chain(ctx, cfg)
}

// oneToken gives a token to the SDK.
type oneToken []byte

func (t oneToken) GetIdentityToken() ([]byte, error) { return t, nil }

func (m *awsMaker) webIdentity(ctx context.Context, cfg aws.Config, values []string) (aws.Credentials, *Error) {
	w := m.c.WebIdentity
	if cfg.Region == "" {
		return aws.Credentials{}, failf(ReasonInvalidConfig, "assuming role %s needs a region; set it (aws.region)", w.RoleARN)
	}
	token, err := m.id.token(ctx, values)
	if err != nil {
		return aws.Credentials{}, err
	}
	p := stscreds.NewWebIdentityRoleProvider(sts.NewFromConfig(cfg), w.RoleARN, oneToken(token), func(o *stscreds.WebIdentityRoleOptions) {
		o.RoleSessionName = orDefault(w.SessionName, defaultSession)
		o.Duration = w.Duration
	})
	got, e := p.Retrieve(ctx)
	if e != nil {
		return aws.Credentials{}, awsTrouble(e, "assuming role "+w.RoleARN+" with the identity token")
	}
	return got, nil
}

func (m *awsMaker) container(ctx context.Context) (aws.Credentials, *Error) {
	c := *m.c.Container
	if c.Endpoint == "" {
		if c.Endpoint = m.d.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI"); c.Endpoint == "" {
			if path := m.d.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); path != "" {
				c.Endpoint = "http://169.254.170.2" + path
			}
		}
		if c.Endpoint == "" {
			return aws.Credentials{}, failf(ReasonNoCredentialFound, "no container credentials endpoint: neither AWS_CONTAINER_CREDENTIALS_FULL_URI nor AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is set")
		}
		if err := checkContainer(&c); err != nil {
			return aws.Credentials{}, err
		}
	}
	if c.TokenFile == "" {
		c.TokenFile = m.d.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
	}
	token := m.d.Getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN")
	if c.TokenFile != "" {
		var err *Error
		if token, err = (reader{}).read(input{Value{File: c.TokenFile}, "the container authorization token", headerLine}); err != nil {
			return aws.Credentials{}, err
		}
	}
	got, e := endpointcreds.New(c.Endpoint, func(o *endpointcreds.Options) {
		o.HTTPClient, o.Retryer, o.AuthorizationToken = m.d.HTTPClient, aws.NopRetryer{}, token
	}).Retrieve(ctx)
	if e != nil {
		return aws.Credentials{}, awsTrouble(e, "asking the container credentials endpoint")
	}
	return got, nil
}

// checkContainer admits only endpoints that the token may be shown to.
func checkContainer(c *AWSContainer) *Error {
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	if err == nil && u.Host != "" && u.User == nil {
		if u.Scheme == "https" {
			return nil
		}
		ip, e := netip.ParseAddr(u.Hostname())
		local := u.Hostname() == "localhost" || e == nil && (ip.IsLoopback() ||
			ip == netip.AddrFrom4([4]byte{169, 254, 170, 2}) || ip == netip.AddrFrom4([4]byte{169, 254, 170, 23}) ||
			ip == netip.MustParseAddr("fd00:ec2::23"))
		if u.Scheme == "http" && local {
			return nil
		}
	}
	return failf(ReasonInvalidConfig, "the container credentials endpoint must be an https URL, or an http URL of this machine's agent")
}

func headerLine(s string) string {
	if !headerText(s) {
		return "it contains a character that cannot be in a header"
	}
	return ""
}

// chain is the SDK's default chain, or one profile of this machine's files.
func (m *awsMaker) chain(ctx context.Context, cfg *aws.Config) (aws.Credentials, *Error) {
	opts := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithHTTPClient(cfg.HTTPClient), awsconfig.WithRetryer(cfg.Retryer),
	}
	what := "the default chain of AWS credentials"
	if m.c.Region != "" {
		opts = append(opts, awsconfig.WithRegion(m.c.Region))
	}
	if m.c.Profile != "" {
		what = "the AWS profile " + m.c.Profile
		opts = append(opts, awsconfig.WithSharedConfigProfile(m.c.Profile))
	}
	loaded, err := awsconfig.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		var missing awsconfig.SharedConfigProfileNotExistError
		if errors.As(err, &missing) {
			return aws.Credentials{}, failf(ReasonNoCredentialFound, "%s does not exist in the shared files", what)
		}
		return aws.Credentials{}, failf(ReasonInvalidSecret, "%s cannot be loaded; check AWS_* variables and the shared files", what)
	}
	if cfg.Region == "" {
		cfg.Region = loaded.Region
	}
	got, err := loaded.Credentials.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, awsTrouble(err, what)
	}
	return got, nil
}

// awsTrouble says what failed, by error code.
func awsTrouble(err error, doing string) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var op *smithy.OperationError
	if errors.As(err, &op) && op.Service() == "ec2imds" {
		return failf(ReasonNoCredentialFound, "%s: no source has credentials, and there is no EC2 instance role", doing)
	}
	status := 0
	var answered *awshttp.ResponseError
	if errors.As(err, &answered) {
		status = answered.HTTPStatusCode()
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		if status != 0 {
			return failf(reasonOf(status, ""), "%s: %s", doing, answer(status, ""))
		}
		return failf(ReasonTokenRequestFailed, "%s: %s", doing, transportTrouble(err))
	}
	switch code := api.ErrorCode(); code {
	case "AccessDenied", "AccessDeniedException":
		return failf(ReasonAssumeRoleDenied, "%s: AWS refused (%s); allow it in the role's trust policy and in the caller's own policies", doing, code)
	case "InvalidIdentityToken", "ExpiredTokenException", "IDPRejectedClaim", "IDPCommunicationError":
		return failf(ReasonTokenRequestDenied, "%s: AWS refused the identity token (%s); check the IAM identity provider's issuer and audience, and the token's age", doing, code)
	case "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "ExpiredToken", "IncompleteSignature", "MissingAuthenticationToken":
		return failf(ReasonTokenRequestDenied, "%s: AWS refused the access keys (%s); replace them", doing, code)
	case "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestExpired":
		return failf(ReasonTokenRequestFailed, "%s: AWS answered %s", doing, answer(status, code))
	case "RegionDisabledException", "ValidationError", "MalformedPolicyDocument", "PackedPolicyTooLarge":
		return failf(ReasonTokenRequestDenied, "%s: AWS refused the request (%s)", doing, code)
	}
	return failf(reasonOf(status, ""), "%s: %s", doing, answer(status, ""))
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
