package gaie

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/gateway-api-inference-extension/conformance/resources"
	"sigs.k8s.io/gateway-api-inference-extension/conformance/utils/headers"
	k8sutils "sigs.k8s.io/gateway-api-inference-extension/conformance/utils/kubernetes"
	gwhttp "sigs.k8s.io/gateway-api/conformance/utils/http"
	confsuite "sigs.k8s.io/gateway-api/conformance/utils/suite"
)

const (
	// pickerTimeout bounds the wait for a picker to go or come. It may take 130
	// seconds to end.
	pickerTimeout = 3 * time.Minute
	// serviceTimeout bounds the wait for a Service to lose or regain its endpoints.
	serviceTimeout = 30 * time.Second
	// goneRequests is how many requests in a row must keep a pool's promise.
	goneRequests = 20
)

// pickerGone tests a pool whose own picker is taken away.
type pickerGone struct {
	route, host, path, servers string
	gateway, pool              types.NamespacedName
	service, picker            types.NamespacedName
	failOpen                   bool
}

func (p pickerGone) test(t *testing.T, s *confsuite.ConformanceTestSuite) {
	route := types.NamespacedName{Name: p.route, Namespace: resources.AppBackendNamespace}
	k8sutils.HTTPRouteMustBeAcceptedAndResolved(t, s.Client, s.TimeoutConfig, route, p.gateway)
	k8sutils.InferencePoolMustBeAcceptedByParent(t, s.Client, p.pool, p.gateway)
	address := k8sutils.GetGatewayEndpoint(t, s.Client, s.TimeoutConfig, p.gateway)
	pods, err := k8sutils.GetPodsWithLabel(t, s.Client, resources.AppBackendNamespace, map[string]string{"app": p.servers}, s.TimeoutConfig)
	require.NoError(t, err, "model servers")
	require.NotEmpty(t, pods, "model servers")

	picked := func(t *testing.T) {
		for _, pod := range pods {
			gwhttp.MakeRequestAndExpectEventuallyConsistentResponse(t, s.RoundTripper, s.TimeoutConfig, address,
				p.request(http.MethodPost, &pod, http.StatusOK, pod.Name))
		}
	}
	t.Run("with the picker", picked)
	t.Run("without the picker", func(t *testing.T) {
		restore, err := k8sutils.MakeServiceUnavailable(t, s.Client, p.service, serviceTimeout)
		require.NoError(t, err, "taking the picker's Service away")
		t.Cleanup(restore)
		p.scale(t, s.Client, 0)
		t.Cleanup(func() { p.scale(t, s.Client, 1) })

		status, backend := http.StatusServiceUnavailable, ""
		if p.failOpen {
			status, backend = http.StatusOK, p.servers
		}
		gwhttp.MakeRequestAndExpectEventuallyConsistentResponse(t, s.RoundTripper, s.TimeoutConfig, address,
			p.request(http.MethodPost, nil, status, backend))
		for i := range goneRequests {
			// Not one may break the promise, whether it has a body or not.
			method := []string{http.MethodPost, http.MethodGet}[i%2]
			want := p.request(method, nil, status, backend)
			request := gwhttp.MakeRequest(t, &want, address, "HTTP", "http")
			got, gotResponse, err := s.RoundTripper.CaptureRoundTrip(request)
			require.NoError(t, err, "%s number %d", method, i)
			require.NoError(t, gwhttp.CompareRoundTrip(t, &request, got, gotResponse, want), "%s number %d", method, i)
		}
	})
	t.Run("with the picker again", picked)
}

// request is a request to the pool and what must come of it: with a pod, one that
// the picker sends there.
func (p pickerGone) request(method string, pod *corev1.Pod, status int, backend string) gwhttp.ExpectedResponse {
	r := gwhttp.Request{Host: p.host, Path: p.path, Method: method}
	if method == http.MethodPost {
		r.Body = `{"model": "conformance-fake-model", "prompt": "Who picks when nobody is there to pick?"}`
	}
	if pod != nil {
		r.Headers = map[string]string{headers.HeaderTestEppEndPointSelectionKey: pod.Status.PodIP}
	}
	return gwhttp.ExpectedResponse{
		Request:   r,
		Response:  gwhttp.Response{StatusCodes: []int{status}},
		Backend:   backend,
		Namespace: resources.AppBackendNamespace,
	}
}

// scale sets the picker's replicas and waits until so many are ready and no other
// pod of it is left.
func (p pickerGone) scale(t *testing.T, c client.Client, replicas int32) {
	t.Helper()
	ctx := context.Background()
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, replicas))
	d := &appsv1.Deployment{}
	d.Name, d.Namespace = p.picker.Name, p.picker.Namespace
	require.NoError(t, c.Patch(ctx, d, patch), "scaling the picker to %d", replicas)
	err := wait.PollUntilContextTimeout(ctx, time.Second, pickerTimeout, true, func(ctx context.Context) (bool, error) {
		var pods corev1.PodList
		if err := c.List(ctx, &pods, client.InNamespace(p.picker.Namespace), client.MatchingLabels(d.Spec.Selector.MatchLabels)); err != nil {
			return false, err
		}
		if err := c.Get(ctx, p.picker, d); err != nil {
			return false, err
		}
		return len(pods.Items) == int(replicas) && d.Status.ReadyReplicas == replicas, nil
	})
	require.NoError(t, err, "waiting for %d pods of the picker", replicas)
}
