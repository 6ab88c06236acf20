package v1alpha1

import gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

// LimitType is what a limit counts.
//
// +kubebuilder:validation:Enum=Requests;InputTokens;OutputTokens;TotalTokens;Cost
type LimitType string

// What limits count.
const (
	LimitRequests     LimitType = "Requests"
	LimitInputTokens  LimitType = "InputTokens"
	LimitOutputTokens LimitType = "OutputTokens"
	LimitTotalTokens  LimitType = "TotalTokens"
	LimitCost         LimitType = "Cost"
)

// LimitPeriod is Minute, Hour, Day, or a number of seconds, minutes, hours or days, as
// in 30s, 5m, 12h or 30d; at most 30 days.
//
// +kubebuilder:validation:MaxLength=8
// +kubebuilder:validation:Pattern=`^(Minute|Hour|Day|[1-9][0-9]{0,6}[smhd])$`
// +kubebuilder:validation:XValidation:rule="!self.matches('^[1-9][0-9]{0,6}[smhd]$') || int(self.substring(0, size(self) - 1)) * (self.endsWith('d') ? 86400 : self.endsWith('h') ? 3600 : self.endsWith('m') ? 60 : 1) <= 2592000",message="period: must be at most 30d"
type LimitPeriod string

// LimitKeyType is what tells clients apart.
//
// +kubebuilder:validation:Enum=Header;User;SPIFFEID
type LimitKeyType string

// What tells clients apart.
const (
	LimitPerHeader   LimitKeyType = "Header"
	LimitPerUser     LimitKeyType = "User"
	LimitPerSPIFFEID LimitKeyType = "SPIFFEID"
)

// Limit bounds what clients may use of a rule in a period. Every model that the rule
// names exactly has a counter of its own, and all others share one.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'Cost' ? has(self.cost) : !has(self.cost)",message="cost: must be set for type Cost, and only then"
type Limit struct {
	// +required
	Type LimitType `json:"type"`
	// Cost names one of the rule's costs.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	// +optional
	Cost string `json:"cost,omitempty"`
	// Max is how much may be used in any period.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000000000
	// +required
	Max int64 `json:"max"`
	// +required
	Period LimitPeriod `json:"period"`
	// Per gives every client a counter of its own; without it, all share one.
	// +optional
	Per *LimitKey `json:"per,omitempty"`
}

// LimitKey tells clients apart. Those without the header, user or identity share a
// counter.
//
// +kubebuilder:validation:XValidation:rule="self.type == 'Header' ? has(self.header) : !has(self.header)",message="header: must be set for type Header, and only then"
type LimitKey struct {
	// Type is Header, for a header that something trusted sets; User, for what the
	// request's body says, OpenAI's user or Anthropic's metadata.user_id; or SPIFFEID,
	// for the identity in the client's certificate, which an AIAccessPolicy asks for.
	// +required
	Type LimitKeyType `json:"type"`
	// Header is the header's name.
	// +optional
	Header *gatewayv1.HTTPHeaderName `json:"header,omitempty"`
}
