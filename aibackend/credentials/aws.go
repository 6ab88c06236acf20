package credentials

import (
	"context"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/fairway-ai/fairway/aibackend/credentials/sigv4"
)

// awsKeys are AWS credentials in use.
type awsKeys struct {
	id     string
	secret Secret
	token  Secret
	// region is the one configured, or else what the source of the keys says about
	// it; "" if neither says anything.
	region string
}

// awsMaker signs with AWS credentials.
type awsMaker struct {
	c      AWS
	d      Deps
	in     []input
	id     *identity // with WebIdentity
	signer atomic.Pointer[hostSigner]
}

var (
	regionText  = regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$`)
	serviceText = regexp.MustCompile(`^[a-z][a-z0-9-]{0,63}$`)
	roleText    = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,512}$`)
	sessionText = regexp.MustCompile(`^[A-Za-z0-9+=,.@_-]{2,64}$`)
	accessKeyID = regexp.MustCompile(`^[A-Za-z0-9_]{4,128}$`)
)

const defaultSession = "fairway"

func newAWS(ctx context.Context, c AWS, d Deps) (Credential, *Error) {
	if c.APIKey != nil {
		if err := one("aws", true, c.Static != nil, c.SharedFile != nil, c.Profile != "", c.WebIdentity != nil, c.Container != nil, len(c.AssumeRole) > 0); err != nil {
			return nil, err
		}
		m, err := newKeyMaker(*c.APIKey, "the Bedrock API key", "authorization", "Bearer ")
		if err != nil {
			return nil, err
		}
		return newManaged(ctx, m, d)
	}
	m := &awsMaker{c: c, d: d}
	if err := m.check(); err != nil {
		return nil, err
	}
	return newManaged(ctx, m, d)
}

// check checks the configuration and gathers its inputs.
func (m *awsMaker) check() *Error {
	c := &m.c
	if err := one("aws", c.Static != nil, c.SharedFile != nil, c.Profile != "", c.WebIdentity != nil, c.Container != nil); err != nil {
		return err
	}
	if c.Region != "" && !regionText.MatchString(c.Region) {
		return failf(ReasonInvalidConfig, "%q is not an AWS region", c.Region)
	}
	if c.Service == "" {
		c.Service = "bedrock"
	}
	if !serviceText.MatchString(c.Service) {
		return failf(ReasonInvalidConfig, "%q is not an AWS service's signing name", c.Service)
	}
	switch {
	case c.Static != nil:
		m.in = []input{
			{c.Static.AccessKeyID, "the AWS access key ID", accessKeyText},
			{c.Static.SecretAccessKey, "the AWS secret access key", keyText},
		}
		if c.Static.SessionToken != nil {
			m.in = append(m.in, input{*c.Static.SessionToken, "the AWS session token", keyText})
		}
	case c.SharedFile != nil:
		profile := c.SharedFile.Profile
		m.in = []input{{c.SharedFile.Content, "the AWS credentials file", func(s string) string {
			_, wrong := parseSharedFile(s, profile)
			return wrong
		}}}
	case c.WebIdentity != nil:
		if err := checkRole(c.WebIdentity.RoleARN, c.WebIdentity.SessionName, c.WebIdentity.Duration); err != nil {
			return err
		}
		var err *Error
		if m.id, m.in, err = newIdentity(c.WebIdentity.Token, m.d, nil); err != nil {
			return err
		}
	case c.Container != nil:
		if err := checkContainer(c.Container); err != nil {
			return err
		}
	}
	for _, r := range c.AssumeRole {
		if err := checkRole(r.RoleARN, r.SessionName, r.Duration); err != nil {
			return err
		}
	}
	return nil
}

func accessKeyText(s string) string {
	if !accessKeyID.MatchString(s) {
		return "it does not look like an access key ID"
	}
	return ""
}

func checkRole(arn, session string, d time.Duration) *Error {
	switch {
	case !roleText.MatchString(arn):
		return failf(ReasonInvalidConfig, "%q is not the ARN of an IAM role (arn:aws:iam::ACCOUNT:role/NAME)", arn)
	case session != "" && !sessionText.MatchString(session):
		return failf(ReasonInvalidConfig, "%q is not a role session name", session)
	case d != 0 && (d < 15*time.Minute || d > 12*time.Hour):
		return failf(ReasonInvalidConfig, "a role's duration must be between 15m and 12h, and is %v", d)
	}
	return nil
}

func (m *awsMaker) inputs() []input { return m.in }

func (m *awsMaker) carries() []string { return awsHeaders[:] }

// awsHeaders is constant.
var awsHeaders = [...]string{"authorization", "x-amz-date", "x-amz-security-token"}

func (m *awsMaker) local() bool {
	return (m.c.Static != nil || m.c.SharedFile != nil) && len(m.c.AssumeRole) == 0
}

func (m *awsMaker) put(r *Request, k awsKeys) error {
	s := m.signerFor(r.Host, k)
	if s == nil {
		return failf(ReasonInvalidConfig, "the AWS region is not known; set it (aws.region)")
	}
	signed, err := s.Sign(
		sigv4.Keys{AccessKeyID: k.id, SecretAccessKey: k.secret.Reveal(), SessionToken: k.token.Reveal()},
		sigv4.Request{Method: r.Method, Host: r.Host, Path: r.Path, ContentType: r.Headers.Get("content-type"), Body: r.Body},
		m.d.Now())
	if err != nil {
		return failf(ReasonUnsignable, "the request cannot be signed for AWS: %s", err)
	}
	r.Headers.Set("authorization", signed.Authorization)
	r.Headers.Set("x-amz-date", signed.Date)
	if signed.SecurityToken != "" {
		r.Headers.Set("x-amz-security-token", signed.SecurityToken)
	}
	return nil
}

// hostSigner is the signer for the host that was signed for last.
type hostSigner struct {
	host, region string
	*sigv4.Signer
}

// signerFor returns a signer for a host's region, or else for the keys' one; nil
// if neither is known.
func (m *awsMaker) signerFor(host string, k awsKeys) *sigv4.Signer {
	if s := m.signer.Load(); s != nil && s.host == host && s.region == k.region {
		return s.Signer
	}
	region := orDefault(bedrockRegion(host), k.region)
	if region == "" {
		return nil
	}
	s := sigv4.New(m.c.Service, region)
	m.signer.Store(&hostSigner{host: host, region: k.region, Signer: s})
	return s
}

func (m *awsMaker) regionFromEnv() string {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if r := m.d.Getenv(name); regionText.MatchString(r) {
			return r
		}
	}
	return ""
}

// bedrockRegion is the region in a Bedrock endpoint's name, as in
// bedrock-runtime.eu-west-1.amazonaws.com, also behind a VPC endpoint's name; ""
// for other hosts. Bedrock accepts no other region's signature there.
func bedrockRegion(host string) string {
	host, _, _ = strings.Cut(host, ":")
	if !strings.HasSuffix(host, ".amazonaws.com") && !strings.HasSuffix(host, ".amazonaws.com.cn") && !strings.HasSuffix(host, ".api.aws") {
		return ""
	}
	after := false
	for label := range strings.SplitSeq(host, ".") {
		if after {
			if regionText.MatchString(label) {
				return label
			}
			return ""
		}
		after = label == "bedrock" || strings.HasPrefix(label, "bedrock-")
	}
	return ""
}

// keysOf are an SDK's credentials, checked like any other answer.
func keysOf(v aws.Credentials, region string) (awsKeys, time.Time, *Error) {
	if !accessKeyID.MatchString(v.AccessKeyID) || v.SecretAccessKey == "" || v.SessionToken != "" && keyText(v.SessionToken) != "" {
		return awsKeys{}, time.Time{}, failf(ReasonTokenRequestFailed, "what AWS answered are no usable access keys")
	}
	var expires time.Time
	if v.CanExpire {
		expires = v.Expires
	}
	return awsKeys{id: v.AccessKeyID, secret: NewSecret(v.SecretAccessKey), token: NewSecret(v.SessionToken), region: region}, expires, nil
}
