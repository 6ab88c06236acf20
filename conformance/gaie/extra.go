package gaie

import (
	"context"
	"embed"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/gateway-api-inference-extension/conformance"
	"sigs.k8s.io/gateway-api-inference-extension/conformance/resources"
	"sigs.k8s.io/gateway-api-inference-extension/conformance/utils/features"
	confsuite "sigs.k8s.io/gateway-api/conformance/utils/suite"
	gatewayfeatures "sigs.k8s.io/gateway-api/pkg/features"
)

// Each test has a manifest of its own: Envoy Gateway 1.9 gives a route that is deleted
// and made again at once no status.
//
//go:embed extra/*.yaml
var extraManifests embed.FS

// ExtraTests are our own tests, in the suite's form. They check what pools promise
// when their own picker is gone: the suite's test of fail-open takes away another
// pool's picker, and it has none of fail-close.
func ExtraTests() []confsuite.ConformanceTest {
	needed := []gatewayfeatures.FeatureName{
		features.SupportInferencePool, gatewayfeatures.SupportGateway, gatewayfeatures.SupportHTTPRoute,
	}
	return []confsuite.ConformanceTest{{
		ShortName:   "FairwayPickerGoneFailOpen",
		Description: "A FailOpen pool whose own picker is gone is served without it, and with it again when it is back",
		Manifests:   []string{"extra/picker_gone_fail_open.yaml"},
		Features:    needed,
		Test: pickerGone{
			route: "fairway-picker-gone-fail-open", gateway: resources.SecondaryGatewayNN,
			host: "secondary.example.com", path: "/picker-gone-fail-open",
			pool: resources.SecondaryInferencePoolNN, servers: resources.SecondaryModelServerAppLabel,
			service: resources.SecondaryEppServiceNN, picker: resources.SecondaryEppDeploymentNN,
			failOpen: true,
		}.test,
	}, {
		ShortName:   "FairwayPickerGoneFailClose",
		Description: "A FailClose pool whose own picker is gone answers 503, and serves again when it is back",
		Manifests:   []string{"extra/picker_gone_fail_close.yaml"},
		Features:    needed,
		Test: pickerGone{
			route: "fairway-picker-gone-fail-close", gateway: resources.PrimaryGatewayNN,
			host: "primary.example.com", path: "/picker-gone-fail-close",
			pool: resources.PrimaryInferencePoolNN, servers: resources.PrimaryModelServerAppLabel,
			service: resources.PrimaryEppServiceNN, picker: resources.PrimaryEppDeploymentNN,
		}.test,
	}}
}

// runExtra runs our own tests as the suite runs its.
func runExtra(t *testing.T, opts confsuite.ConformanceOptions) {
	confsuite.RegisterConformanceProfile(conformance.GatewayLayerProfile)
	suite, err := confsuite.NewConformanceTestSuite(opts)
	require.NoError(t, err, "preparing the suite")
	tests := ExtraTests()
	conformance.SetupConformanceTestSuite(context.Background(), t, suite, opts, tests)
	require.NoError(t, suite.Run(t, tests), "running the tests")
}
