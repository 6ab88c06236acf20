package egress

import (
	"fmt"

	"github.com/fairway-ai/fairway/extproc"
	"github.com/fairway-ai/fairway/gateway/accesspolicy"
	"github.com/fairway-ai/fairway/gateway/airoute"
)

// access is what a request may be for, and the identity of its client where a policy
// guards the listener that it came in at; the error refuses it. Nothing that a client
// sends is believed anywhere else. A policy that is not known here, because this process
// is behind or the policy has just gone, refuses.
func access(c *airoute.Config, req *extproc.Request) (scope, identity string, err error) {
	scope, at, identified, guarded := accesspolicy.Unmark(req.Pool)
	if !guarded {
		return scope, "", nil
	}
	var policy *accesspolicy.Policy
	if c != nil {
		policy = c.Access.Find(at.Gateway, at.Section)
	}
	switch {
	case policy == nil:
		return "", "", &extproc.Rejection{Status: 503, Code: "access_policy_not_known", Message: "the gateway does not know yet who may call, or does so no longer; try again later"}
	case !identified:
		return "", "", &extproc.Rejection{Status: 403, Code: "client_certificate_required", Message: "this gateway is for clients with certificates, for which this listener does not ask"}
	}
	identity, err = accesspolicy.Identity(req.Header(accesspolicy.Header), policy.TrustDomain)
	if err != nil {
		return "", "", &extproc.Rejection{Status: 403, Code: "client_certificate_required", Message: err.Error()}
	}
	if err := allows(policy, identity, req.Body.Model); err != nil {
		return "", "", err
	}
	for _, name := range [...]string{extproc.ModelRewriteHeader, extproc.ModelRewriteHeaderLegacy} {
		// A picker may send the request for this model instead, and of several values not
		// all pickers take the same.
		for model := range req.Values(name) {
			if model == "" {
				continue
			}
			if err := allows(policy, identity, model); err != nil {
				return "", "", err
			}
		}
	}
	return scope, identity, nil
}

// allows refuses a model that an identity may not call, "" for a request without one.
func allows(policy *accesspolicy.Policy, identity, model string) error {
	if policy.Allows(identity, model) {
		return nil
	}
	what := "requests without a model"
	if model != "" {
		what = fmt.Sprintf("the model %q", clip(model))
	}
	return &extproc.Rejection{Status: 403, Code: "model_not_allowed", Message: fmt.Sprintf("%s may not call %s here", identity, what)}
}
