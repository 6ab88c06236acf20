package kubeauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// allowedFor and refusedFor are how long an answer of the cluster counts.
	allowedFor = time.Minute
	refusedFor = 10 * time.Second
	// timeout bounds both questions together.
	timeout = 10 * time.Second
	// maxAnswers bounds how many answers are remembered, maxToken a token's bytes.
	maxAnswers = 1000
	maxToken   = 64 << 10
	// maxAsking bounds how many requests ask at the same time.
	maxAsking = 8
)

// Filter asks a cluster. It is safe for concurrent use.
type Filter struct {
	client kubernetes.Interface
	open   []string
	log    *slog.Logger
	now    func() time.Time
	asking chan struct{}

	mu      sync.Mutex
	answers map[question]answer
}

// question is what was asked, without the token.
type question struct {
	token        [sha256.Size]byte
	path, method string
}

type answer struct {
	status int // what is answered; 200 lets the request pass
	until  time.Time
}

// New returns a filter. Paths in open need nobody's permission. now is the clock; nil
// means time.Now.
func New(client kubernetes.Interface, open []string, log *slog.Logger, now func() time.Time) *Filter {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if now == nil {
		now = time.Now
	}
	return &Filter{client: client, open: open, log: log, now: now, asking: make(chan struct{}, maxAsking), answers: map[question]answer{}}
}

// Wrap returns a handler that asks before next: 401 without a token that the cluster
// knows, 403 without permission, 503 when the cluster cannot be asked.
func (f *Filter) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		if !slices.Contains(f.open, r.URL.Path) {
			status = f.ask(r)
		}
		if status != http.StatusOK {
			if status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			http.Error(w, http.StatusText(status), status)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (f *Filter) ask(r *http.Request) int {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return http.StatusUnauthorized
	}
	q := question{sha256.Sum256([]byte(token)), r.URL.Path, strings.ToLower(r.Method)}
	now := f.now()
	f.mu.Lock()
	known, ok := f.answers[q]
	f.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.status
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	select {
	case f.asking <- struct{}{}:
		defer func() { <-f.asking }()
	case <-ctx.Done():
		return http.StatusServiceUnavailable
	}
	status, err := f.review(ctx, token, q)
	if err != nil {
		f.log.Warn("the cluster cannot say who may read metrics", "error", err)
		return http.StatusServiceUnavailable
	}
	a := answer{status, now.Add(refusedFor)}
	if status == http.StatusOK {
		a.until = now.Add(allowedFor)
	}
	f.remember(q, a, now)
	return status
}

// remember keeps an answer, and makes room by dropping those that no longer count, or
// all.
func (f *Filter) remember(q question, a answer, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.answers) >= maxAnswers {
		for k, v := range f.answers {
			if !now.Before(v.until) {
				delete(f.answers, k)
			}
		}
		if len(f.answers) >= maxAnswers {
			clear(f.answers)
		}
	}
	f.answers[q] = a
}

// review asks the cluster whose the token is and what they may do. The error never has
// the token in it.
func (f *Filter) review(ctx context.Context, token string, q question) (int, error) {
	t, err := f.client.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: token},
	}, metav1.CreateOptions{})
	if err != nil {
		return 0, fmt.Errorf("TokenReview: %w", plain(err, token))
	}
	if !t.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	user := t.Status.User
	extra := make(map[string]authorizationv1.ExtraValue, len(user.Extra))
	for k, v := range user.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	s, err := f.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: q.path, Verb: q.method},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return 0, fmt.Errorf("SubjectAccessReview: %w", plain(err, token))
	}
	if !s.Status.Allowed || s.Status.Denied {
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
}

// plain is the error without the token.
func plain(err error, token string) error {
	if text := err.Error(); strings.Contains(text, token) {
		return errors.New(strings.ReplaceAll(text, token, "…"))
	}
	return err
}
