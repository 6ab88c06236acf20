package filter

import "slices"

// Type names of the role filters.
const (
	DecodeType  = "decode-filter"
	PrefillType = "prefill-filter"
	EncodeType  = "encode-filter"
)

// RoleLabel is the label that names an endpoint's part in disaggregated serving.
const RoleLabel = "llm-d.ai/role"

// Values of RoleLabel.
const (
	RoleEncode              = "encode"
	RolePrefill             = "prefill"
	RoleDecode              = "decode"
	RoleEncodePrefill       = "encode-prefill"
	RolePrefillDecode       = "prefill-decode"
	RoleEncodePrefillDecode = "encode-prefill-decode"
	// RoleBoth is the deprecated name of RolePrefillDecode.
	RoleBoth = "both"
)

// Role keeps the endpoints that can do one stage of a request.
type Role struct{ labels }

// NewDecode keeps endpoints that decode; one without the label does. An empty
// name means the filter's type.
func NewDecode(name string) *Role {
	return newRole(name, DecodeType, true, RoleDecode, RolePrefillDecode, RoleBoth, RoleEncodePrefillDecode)
}

// NewPrefill keeps endpoints that prefill; one without the label does not. An
// empty name means the filter's type.
func NewPrefill(name string) *Role {
	return newRole(name, PrefillType, false, RolePrefill, RoleEncodePrefill, RolePrefillDecode, RoleBoth, RoleEncodePrefillDecode)
}

// NewEncode keeps endpoints that encode; one without the label does not. An
// empty name means the filter's type.
func NewEncode(name string) *Role {
	return newRole(name, EncodeType, false, RoleEncode, RoleEncodePrefill, RoleEncodePrefillDecode)
}

func newRole(name, typ string, unlabelled bool, roles ...string) *Role {
	return &Role{newLabels(name, typ, func(l map[string]string) bool {
		role, ok := l[RoleLabel]
		return ok && slices.Contains(roles, role) || !ok && unlabelled
	})}
}
