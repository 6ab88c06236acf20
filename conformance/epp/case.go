package epp

import (
	"context"
	"fmt"
	"slices"
)

// Level is how much a case matters, in the words of RFC 2119.
type Level string

// The levels. Only a MUST makes a picker fail.
const (
	Must   Level = "MUST"
	Should Level = "SHOULD"
	May    Level = "MAY"
)

// Where a clause stands.
const (
	secIntro       = "004: introduction"
	secSubset      = "004: Endpoint Subset"
	secDestination = "004: Destination Endpoint"
	secServed      = "004: Destination Endpoint Served"
	secHealth      = "004: Health Checking"
	secExtProc     = "Envoy: external_processor.proto"
	secPractice    = "practice"
)

// Case is one thing that is checked.
type Case struct {
	// ID is "group/name", stable between versions.
	ID string `json:"id" yaml:"id"`
	// Level is how much it matters.
	Level Level `json:"level" yaml:"level"`
	// Section is where the clause stands: in proposal 004, in Envoy's API, or
	// "practice" for what gateways and pickers do without a written rule.
	Section string `json:"section" yaml:"section"`
	// Clause is what is asked, in our own words.
	Clause string `json:"clause" yaml:"clause"`

	run func(ctx context.Context, s *session) error
	// learns is set when run needs the picker's endpoints.
	learns bool
}

// Cases returns every case in the order it runs.
func Cases() []Case {
	return slices.Concat(pickCases(), bodyCases(), headerCases(), subsetCases(), responseCases(), streamCases(), healthCases())
}

// Failure says precisely what went wrong; it is the error of a failed case.
type Failure struct {
	// Sent is what the picker was sent.
	Sent string `json:"sent" yaml:"sent"`
	// Got is what it answered.
	Got string `json:"got" yaml:"got"`
	// Want is what it should have answered.
	Want string `json:"want" yaml:"want"`
}

func (f *Failure) Error() string {
	return fmt.Sprintf("sent %s; got %s; want %s", f.Sent, f.Got, f.Want)
}

// skipped is the error of a case that could not be judged, and why.
type skipped string

func (s skipped) Error() string { return string(s) }
