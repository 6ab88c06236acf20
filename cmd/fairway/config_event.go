package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	// eventTimeout bounds the time that telling the cluster may take.
	eventTimeout = 5 * time.Second
	// maxNote is the longest note of an event, in bytes.
	maxNote = 1000
)

// podEvents returns what tells the cluster, as an event of this process's pod, what
// became of a changed configuration; nil when this is no pod. That it cannot be told is
// logged, and changes nothing.
func podEvents(config *rest.Config, log *slog.Logger) func(ctx context.Context, ok bool, note string) {
	pod := podName()
	if pod == "" || config == nil {
		return nil
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Warn("the cluster is not told of changes of the configuration", "error", err)
		return nil
	}
	namespace := ownNamespace()
	return func(ctx context.Context, ok bool, note string) {
		ctx, cancel := context.WithTimeout(ctx, eventTimeout)
		defer cancel()
		kind, reason := corev1.EventTypeNormal, "ConfigReloaded"
		if !ok {
			kind, reason = corev1.EventTypeWarning, "ConfigRefused"
		}
		if len(note) > maxNote {
			note = strings.ToValidUTF8(note[:maxNote-len("…")], "") + "…"
		}
		now := metav1.NowMicro()
		_, err := client.EventsV1().Events(namespace).Create(ctx, &eventsv1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s.%x", pod, now.UnixNano())},
			EventTime:  now, ReportingController: "fairway.dev/picker", ReportingInstance: pod,
			Action: "Reload", Reason: reason, Type: kind, Note: note,
			Regarding: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: pod},
		}, metav1.CreateOptions{})
		if err != nil {
			log.Debug("the cluster was not told of a change of the configuration", "error", err)
		}
	}
}
