package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// cachedBlocks is at least how many blocks of 16 tokens a prompt of this test has.
	cachedBlocks = 20
	// precise takes the place of the plugins in the example for llm-d's picker: a
	// configuration as llm-d documents it for engines that say what they have cached.
	precise = `    plugins:
    - type: token-producer
      parameters: {vllm: {endpointDiscovery: {}, timeout: 20s}}
    - type: precise-prefix-cache-producer
      parameters:
        tokenProcessorConfig: {blockSizeTokens: 16}
        kvEventsConfig: %s
    - type: prefix-cache-scorer
      parameters: {prefixMatchInfoProducerName: precise-prefix-cache-producer}
    schedulingProfiles:
    - name: default
      plugins:
      - {pluginRef: prefix-cache-scorer, weight: 1}
---
apiVersion: gateway.networking.k8s.io/v1
`
)

// cacheWay is a way in which KV cache events come to whoever picks.
type cacheWay struct {
	name    string // also of all objects
	example string // where they are from
	was     string // what they are called there
	engine  string // one more argument of the servers
	events  string // kvEventsConfig of the picker's configuration; "" without a picker
}

var cacheWays = []cacheWay{
	{name: "cache-gateway", example: "pool.yaml", was: "llama", engine: "tcp://*:5557"},
	{name: "cache-dialled", example: "llm-d-epp.yaml", was: "olmo", engine: "tcp://*:5557", events: "{podDiscoveryConfig: {socketPort: 5557, replaySocketPort: 5657}}"},
	{name: "cache-bound", example: "llm-d-epp.yaml", was: "olmo", engine: "tcp://cache-bound-epp:5557", events: "{zmqEndpoint: 'tcp://*:5557'}"},
}

// TestKVCache has servers say what they have cached. Whoever picks follows all of them
// and sends a prompt to the server that has it, although nobody sent it there through
// Envoy; and all is so again when a server was replaced.
func TestKVCache(t *testing.T) {
	address := newCluster(t).gateway()
	for _, way := range cacheWays {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			k := &caches{cluster: newCluster(t), cacheWay: way}
			k.available(k.applyText(way.example, way.manifests(t)))
			k.target = target{address: address, host: way.name + ".example.com", model: way.name, tokens: 1}
			k.answers(k.target)
			k.all()
			k.found()
			k.replaced()
			k.found()
		})
	}
}

// manifests are the example's, changed.
func (w cacheWay) manifests(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(examples, w.example))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(b), w.was, w.name)
	replace := func(from, to, with string) {
		t.Helper()
		before, rest, found := strings.Cut(text, from)
		_, after, ends := strings.Cut(rest, to)
		if !found || !ends {
			t.Fatalf("%s does not have %q and then %q", w.example, from, to)
		}
		text = before + with + after
	}
	replace("--shutdown-timeout=45s]", "env:\n", "--shutdown-timeout=45s, --kv-events-replay-endpoint=tcp://*:5657, --kv-events-endpoint="+w.engine+`]
        env:
        - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
`)
	// While a server is replaced, its pool has one less for so long that it can be seen.
	replace("readinessProbe: {", "periodSeconds: 2}", "readinessProbe: {initialDelaySeconds: 5, httpGet: {path: /health, port: 8000}, periodSeconds: 2}")
	if w.events != "" {
		replace("    plugins:\n", "apiVersion: gateway.networking.k8s.io/v1\n", fmt.Sprintf(precise, w.events))
		replace("- --v=2", "\n", "- --v=2\n        - --token-budget=5s\n")
		replace("  - {name: http-metrics, port: 9090}", "\n", "  - {name: http-metrics, port: 9090}\n  - {name: kv-events, port: 5557}\n")
	}
	return text
}

// caches is a pool whose servers say what they have cached.
type caches struct {
	*cluster
	cacheWay
	target
	prompts int
}

// pickers are the pods that pick.
func (k *caches) pickers(ctx context.Context) []corev1.Pod {
	if k.events == "" {
		return k.pods(ctx, systemNamespace(), "app.kubernetes.io/component", "gateway")
	}
	return k.pods(ctx, "fairway-examples", "llm-d-router-gateway", k.name+"-epp")
}

// servers are the pods that are picked.
func (k *caches) servers(ctx context.Context) []corev1.Pod {
	return k.pods(ctx, "fairway-examples", "app", k.name)
}

// pods are those that are ready and have a label.
func (c *cluster) pods(ctx context.Context, namespace, label, value string) (ready []corev1.Pod) {
	var list corev1.PodList
	if err := c.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels{label: value}); err != nil {
		return nil
	}
	for i := range list.Items {
		if isReady(&list.Items[i]) {
			ready = append(ready, list.Items[i])
		}
	}
	return ready
}

// at asks a pod itself, neither through Envoy nor a Service; without a body it is a GET.
func (c *cluster) at(ctx context.Context, pod *corev1.Pod, port int, path, body string) (string, error) {
	verb, name := "POST", pod.Name+":"+strconv.Itoa(port)
	if body == "" {
		verb = "GET"
	}
	answer, err := c.rest.Verb(verb).Namespace(pod.Namespace).Resource("pods").Name(name).SubResource("proxy").Suffix(path).
		SetHeader("Content-Type", "application/json").Body([]byte(body)).DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("%s%s: %w: %.300s", name, path, err, answer)
	}
	return string(answer), nil
}

// series is the value of a metric of a picker, with its labels, 0 without.
func (k *caches) series(ctx context.Context, picker *corev1.Pod, name string) (float64, error) {
	page, err := k.at(ctx, picker, 9090, "metrics", "")
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(page, "\n"+name+" ")
	if !found {
		return 0, nil
	}
	text, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseFloat(text, 64)
}

// all waits until all servers are followed. One that dials is known by its first message,
// so each is made to send some.
func (k *caches) all() {
	k.t.Helper()
	k.eventually("all servers to be followed", func(ctx context.Context) (string, bool) {
		servers := k.servers(ctx)
		for i := range servers {
			if _, err := k.tell(&servers[i]); err != nil {
				return err.Error(), false // it begins, or ends
			}
		}
		done := map[string]bool{}
		return k.follow(ctx, len(servers), done), len(servers) == 2 && len(done) == len(k.pickers(ctx))
	})
}

// tell gives a server a prompt that nobody else has, and returns it.
func (k *caches) tell(server *corev1.Pod) (string, error) {
	k.t.Helper()
	k.prompts++
	prompt := strings.Repeat(fmt.Sprintf("%s, prompt number %d. ", k.name, k.prompts), 60)
	body := fmt.Sprintf(`{"model":%q,"max_tokens":1,"messages":[{"role":"user","content":%q}]}`, k.model, prompt)
	_, err := k.at(k.t.Context(), server, 8000, "v1/chat/completions", body)
	return prompt, err
}

// follow adds to done the pickers that follow n servers now, and says what another one
// does.
func (k *caches) follow(ctx context.Context, n int, done map[string]bool) (other string) {
	pickers := k.pickers(ctx)
	for i := range pickers {
		v, err := k.series(ctx, &pickers[i], fmt.Sprintf("fairway_kv_cache_live_endpoints{pool=%q}", "fairway-examples/"+k.name))
		if err == nil && v == float64(n) {
			done[pickers[i].Name] = true
			continue
		}
		other = fmt.Sprintf("%s follows %g: %v", pickers[i].Name, v, err)
	}
	return other
}

// found sends prompts to each server itself, and then through Envoy, which sends them to
// who has them.
func (k *caches) found() {
	k.t.Helper()
	ctx := k.t.Context()
	servers, pickers := k.servers(ctx), k.pickers(ctx)
	known := make([]float64, len(pickers))
	for i := range pickers {
		k.eventually("what a picker knows", func(ctx context.Context) (_ string, ok bool) {
			var err error
			known[i], err = k.series(ctx, &pickers[i], "fairway_kv_cache_blocks")
			return fmt.Sprint(err), err == nil
		})
	}
	prompts := map[string]string{}
	for range 3 {
		for i := range servers {
			prompt, err := k.tell(&servers[i])
			if err != nil {
				k.t.Fatal(err)
			}
			prompts[prompt] = servers[i].Name
		}
	}
	for i := range pickers {
		k.eventually("the prompts to be known", func(ctx context.Context) (string, bool) {
			n, err := k.series(ctx, &pickers[i], "fairway_kv_cache_blocks")
			return fmt.Sprintf("%g blocks, %g before: %v", n, known[i], err), err == nil && n >= known[i]+float64(len(prompts)*cachedBlocks)
		})
	}
	for prompt, server := range prompts {
		// More than once, since each replica has its own knowledge.
		for range 4 {
			if o := k.send(ctx, httpClient, prompt); o.reason != "" || o.server != server {
				k.t.Errorf("%.40s…: %q answered, want %s, which has it; %s", prompt, o.server, server, o.reason)
			}
		}
	}
}

// replaced kills one server: until there is another in its place, one is followed.
func (k *caches) replaced() {
	k.t.Helper()
	victim := k.servers(k.t.Context())[0]
	if err := k.Delete(k.t.Context(), &victim, client.GracePeriodSeconds(0)); err != nil {
		k.t.Fatalf("killing %s: %v", victim.Name, err)
	}
	done := map[string]bool{} // at some moment
	k.eventually("one server to be followed", func(ctx context.Context) (string, bool) {
		return k.follow(ctx, 1, done), len(done) == len(k.pickers(ctx))
	})
	k.rolledOut("fairway-examples", k.name)
	k.all()
}
