package gaie

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/gateway-api-inference-extension/conformance/resources"
)

// deletionTimeout bounds the wait for namespaces of an earlier run to be gone. Its
// pickers may take 130 seconds to end.
const deletionTimeout = 4 * time.Minute

// waitForDeletion waits until namespaces that an earlier run deleted are gone:
// nothing can be made in them before.
func waitForDeletion(ctx context.Context, t *testing.T, c client.Client) {
	for _, name := range []string{resources.InfraNamespace, resources.AppBackendNamespace} {
		told := false
		err := wait.PollUntilContextTimeout(ctx, time.Second, deletionTimeout, true, func(ctx context.Context) (bool, error) {
			var ns corev1.Namespace
			err := c.Get(ctx, client.ObjectKey{Name: name}, &ns)
			if apierrors.IsNotFound(err) || err == nil && ns.DeletionTimestamp == nil {
				return true, nil
			}
			if err == nil && !told {
				told = true
				t.Logf("waiting for namespace %s of an earlier run to be gone", name)
			}
			return false, err
		})
		require.NoError(t, err, "namespace %s", name)
	}
}
