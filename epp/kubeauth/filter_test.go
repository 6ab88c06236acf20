package kubeauth

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestFilter(t *testing.T) {
	client := fake.NewClientset()
	asked, away := 0, false
	client.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		asked++
		r := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview)
		if away {
			return true, nil, errors.New("no answer about " + r.Spec.Token)
		}
		if name, ok := strings.CutPrefix(r.Spec.Token, "token-of-"); ok {
			r.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: name, Groups: []string{"g"}}}
		}
		return true, r, nil
	})
	client.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
		n := r.Spec.NonResourceAttributes
		r.Status.Allowed = r.Spec.User == "prometheus" && len(r.Spec.Groups) == 1 && n.Path == "/metrics" && n.Verb == "get"
		return true, r, nil
	})
	now := time.Unix(0, 0)
	var log bytes.Buffer
	f := New(client, []string{"/healthz"}, slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now })
	h := f.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("numbers")) }))
	get := func(path, authorization string) int {
		t.Helper()
		r := httptest.NewRequest("GET", path, nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if passed := w.Body.String() == "numbers"; passed != (w.Code == 200) {
			t.Errorf("%s %q: %d %s", path, authorization, w.Code, w.Body)
		}
		return w.Code
	}
	for _, tc := range []struct {
		path, authorization string
		want                int
	}{
		{"/healthz", "", 200}, {"/metrics", "", 401}, {"/metrics", "Basic token-of-prometheus", 401}, {"/metrics", "Bearer", 401},
		{"/metrics", "Bearer nonsense", 401}, {"/metrics", "Bearer token-of-somebody", 403}, {"/metrics", "bearer token-of-prometheus", 200},
		{"/debug/pprof/", "Bearer token-of-prometheus", 403}, {"/metrics", "Bearer " + strings.Repeat("x", maxToken+1), 401},
	} {
		if got := get(tc.path, tc.authorization); got != tc.want {
			t.Errorf("%s %.40q: %d, want %d", tc.path, tc.authorization, got, tc.want)
		}
	}
	// Answers count for a while, also when the cluster is away.
	before := asked
	away = true
	if got := get("/metrics", "Bearer token-of-prometheus"); got != 200 || asked != before {
		t.Errorf("%d, asked %d times more", got, asked-before)
	}
	now = now.Add(allowedFor)
	if got := get("/metrics", "Bearer token-of-prometheus"); got != 503 {
		t.Errorf("%d, want 503 when nobody can say", got)
	}
	if strings.Contains(log.String(), "token-of") || !strings.Contains(log.String(), "no answer about …") {
		t.Errorf("log: %s", &log)
	}
	away = false
	if got := get("/metrics", "Bearer token-of-prometheus"); got != 200 {
		t.Errorf("%d once the cluster is back", got)
	}
	for i := range 2 * maxAnswers {
		f.remember(question{path: strings.Repeat("x", i)}, answer{200, now.Add(time.Hour)}, now)
	}
	if len(f.answers) > maxAnswers {
		t.Errorf("%d answers are remembered", len(f.answers))
	}
}
