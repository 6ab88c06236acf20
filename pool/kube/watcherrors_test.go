package kube

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestWatchErrorsAreReportedOnce(t *testing.T) {
	var log bytes.Buffer
	now := time.Unix(0, 0)
	e := NewWatchErrors(slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now })
	pods := schema.GroupResource{Resource: "pods"}
	for _, step := range []struct {
		err  error
		wait time.Duration
		want string // "" for silence
	}{
		{err: io.EOF},
		{err: apierrors.NewResourceExpired("too old")},
		{err: apierrors.NewForbidden(pods, "", nil), want: "let this service account"},
		{err: apierrors.NewForbidden(pods, "", nil)},
		{err: apierrors.NewNotFound(pods, ""), want: "install the InferencePool CRD"},
		{err: errors.New("connection refused"), want: "last known endpoints stay"},
		{err: errors.New("another text")},
		{err: errors.New("connection refused"), wait: 11 * time.Minute, want: "last known endpoints stay"},
	} {
		now = now.Add(step.wait)
		log.Reset()
		e.handle("*v1.Pod", step.err)
		if got := log.String(); (got == "") != (step.want == "") || !strings.Contains(got, step.want) {
			t.Errorf("%v: %q, want %q", step.err, got, step.want)
		}
	}
}

func TestModels(t *testing.T) {
	p := inferencePool("ns", "p", 1, nil)
	if m, err := Models(p); m != nil || err != nil {
		t.Errorf("%v %v", m, err)
	}
	for value, want := range map[string]string{
		"a": "a", " a , b*,a": "a b*", "": "error", "a,": "error", "a*b": "error",
		strings.Repeat("x", 513): "error", strings.Repeat("a,", 1024) + "a": "error",
	} {
		p.Annotations = map[string]string{"fairway.dev/models": value}
		m, err := Models(p)
		got := strings.Join(m, " ")
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%.20q: %q %v, want %q", value, got, err, want)
		}
	}
}

func FuzzModels(f *testing.F) {
	f.Add("a,b*")
	f.Fuzz(func(t *testing.T, s string) {
		p := inferencePool("ns", "p", 1, nil)
		p.Annotations = map[string]string{"fairway.dev/models": s}
		m, err := Models(p)
		if err != nil && m != nil || len(m) > maxModels {
			t.Fatalf("%d models, %v", len(m), err)
		}
	})
}
