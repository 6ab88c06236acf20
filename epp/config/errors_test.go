package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/fairway-ai/fairway/pool/kvevents/index"
	"github.com/fairway-ai/fairway/scheduler/prefix"
)

func TestErrors(t *testing.T) {
	profile := func(text string) string {
		return "plugins:\n- type: queue-scorer\n- type: max-score-picker\n- {type: random-picker, name: dice}\n- type: metrics-data-source\n- type: utilization-detector\nschedulingProfiles:\n" + text
	}
	reporter := func(attributes string) string {
		return "plugins:\n- type: request-attribute-reporter\n  parameters:\n    attributes: [" + attributes + "]\n"
	}
	reporters := func(n int) (text string) {
		for i := range n {
			text += fmt.Sprintf("- {type: request-attribute-reporter, name: r%d, parameters: {attributes: [{key: {name: a}, expression: '1'}]}}\n", i)
		}
		return text
	}
	for _, tc := range []struct{ name, text, want string }{
		{"too large", strings.Repeat("#", MaxSize+1), "at most 1048576 are read"},
		{"not YAML", "a: [", "the file is not valid YAML: line 1"},
		{"two documents", "kind: EndpointPickerConfig\n---\nkind: EndpointPickerConfig\n", "more than one document"},
		{"not an object", "[]", "line 1: is a list: must be an object"},
		{"kind", "kind: InferencePool", `line 1: kind: is "InferencePool": must be EndpointPickerConfig`},
		{"apiVersion", "apiVersion: llm-d.ai/v2", `apiVersion: is "llm-d.ai/v2": must be one of llm-d.ai/v1alpha1, llm-d.ai/v1, `},
		{"unknown field", "kind: EndpointPickerConfig\nplugin: []", `line 2: plugin: unknown field; did you mean "plugins"?`},
		{"unknown field, nothing close", "xyzzy: 1", "xyzzy: unknown field"},
		{"unknown field inside", "plugins:\n- type: queue-scorer\n  params: {}", "line 3: plugins[0].params: unknown field; must be one of name, parameters, type"},
		{"repeated field", "plugins: []\nplugins: []", "line 2: plugins: is there twice"},
		{"list wanted", "plugins: {}", "plugins: is an object: must be a list"},
		{"object wanted", "plugins: [queue-scorer]", "plugins[0]: is text: must be an object"},
		{"text wanted", "plugins: [{type: 5}]", `plugins[0].type: is a number: must be text; put "5" in quotes`},
		{"text wanted, not a list", "plugins: [{type: []}]", "plugins[0].type: is a list: must be text"},
		{"merge key", "a: &a {}\n<<: *a", "<<: unknown field"},

		{"no type", "plugins: [{name: a}]", "plugins[0].type: is missing"},
		{"unknown type", "plugins:\n- type: queue-scrorer", `line 2: plugins[0].type: unknown plugin type "queue-scrorer"; did you mean "queue-scorer"?`},
		{"unknown type, nothing close", "plugins: [{type: magic}]", `plugins[0].type: unknown plugin type "magic"`},
		{"not available", "plugins: [{type: latency-scorer}]", `"latency-scorer" is not available in Fairway: it asks llm-d's latency prediction servers, which Fairway has no client for; write token-load-scorer and prefix-cache-scorer`},
		{"experimental", "plugins:\n- type: topology-affinity-filter", "line 2: plugins[0].type: topology-affinity-filter may still change: allow it with the flag --allow-experimental-plugins"},
		{"decider of none", "plugins: [{type: pd-profile-handler}]\nschedulingProfiles: [{name: decode}]", `deciders.prefill: no entry of plugins is named "prefix-based-pd-decider"`},
		{"decider kind", "plugins: [{type: queue-scorer}, {type: disagg-profile-handler, parameters: {deciders: {encode: queue-scorer}}}]\nschedulingProfiles: [{name: decode}, {name: encode}]", `deciders.encode: "queue-scorer" is a scorer: must name a decider`},
		{"no decode profile", "plugins: [{type: disagg-profile-handler}]\nschedulingProfiles: [{name: prefill}]", `plugins[0].parameters.profiles.decode: no scheduling profile is named "decode" (there are: prefill)`},
		{"stage order", "plugins: [{type: disagg-profile-handler, parameters: {stageOrder: encode-first}}]", `stageOrder is "encode-first": must be decode-first or prefill-first`},
		{"decider of prefill first", "plugins: [{type: always-disagg-pd-decider}, {type: disagg-profile-handler, parameters: {stageOrder: prefill-first, deciders: {prefill: always-disagg-pd-decider}}}]", "with stageOrder prefill-first every prompt"},
		{"stages share a profile", "plugins: [{type: disagg-profile-handler, parameters: {profiles: {prefill: decode}}}]", `profiles: "decode" is there twice`},
		{"decider tokens", "plugins: [{type: prefix-based-pd-decider, parameters: {nonCachedTokens: -1}}]", "nonCachedTokens is -1: must be 0 or more"},
		{"two handlers", "plugins: [{type: single-profile-handler}, {type: disagg-profile-handler}]", `plugins[1]: there is a profile handler already, "single-profile-handler"`},
		{"profile twice", "schedulingProfiles: [{name: a}, {name: a}]", `schedulingProfiles[1].name: "a" is the name of another profile`},
		{"data parallel", "plugins: [{type: data-parallel-profile-handler}]\nschedulingProfiles: [{name: a}, {name: b}]", "there are 2 profiles (a, b): data-parallel-profile-handler uses one"},
		{"primary port", "plugins: [{type: data-parallel-profile-handler, parameters: {primaryPort: 70000}}]", "primaryPort is 70000: must be 1 to 65535"},
		{"attribute of nobody", "plugins: [{type: session-affinity-filter, parameters: {strategy: session_id, sessionIdConfig: {sources: [{attribute: agent-identity}]}}}]", `sources[0].attribute: no plugin publishes "agent-identity": declare a session-id-producer`},
		{"utilization", "plugins: [{type: utilization-filter}]", "conditions is empty"},
		{"predicted times", "plugins: [{type: prefix-cache-affinity-filter, parameters: {ttftSource: latencyPredictor}}]", "only prefillThroughput is supported"},
		{"session producer", "plugins: [{type: session-id-producer, parameters: {headerName: a, cookieName: b}}]", "headerName and cookieName: set one of them"},
		{"name taken", "plugins: [{type: queue-scorer}, {type: load-aware-scorer, name: queue-scorer}]", `plugins[1].name: "queue-scorer" is the name of another plugin`},

		{"unknown parameter", "plugins:\n- type: load-aware-scorer\n  parameters:\n    treshold: 5", `line 4: plugins[0].parameters.treshold: unknown field; did you mean "threshold"?`},
		{"parameters of none", "plugins: [{type: queue-scorer, parameters: {a: 1}}]", "plugins[0].parameters.a: unknown field; none are allowed here"},
		{"whole number", "plugins: [{type: load-aware-scorer, parameters: {threshold: 1.5}}]", `threshold: is "1.5": must be a whole number that fits in 32 bits`},
		{"number too large", "plugins: [{type: load-aware-scorer, parameters: {threshold: 99999999999}}]", "must be a whole number that fits in 32 bits"},
		{"number", "plugins: [{type: active-request-scorer, parameters: {maxBusyScore: high}}]", `maxBusyScore: is "high": must be a number`},
		{"boolean", "plugins: [{type: file-discovery, parameters: {path: a, watchFile: yes please}}]", `watchFile: is "yes please": must be true or false`},
		{"duration", "plugins: [{type: metrics-data-source, parameters: {interval: soon}}]", `interval: "soon" is not a duration: write a number and a unit`},
		{"duration in the file", "flowControl: {defaultRequestTTL: soon}", "flowControl.defaultRequestTTL: time: invalid duration"},
		{"quantity", "flowControl: {maxBytes: many}", "flowControl.maxBytes: quantities must match"},
		{"validated", "plugins:\n- type: prefix-cache-scorer\n  parameters: {matchLengthScaleTokens: 0}", "line 3: plugins[0].parameters: matchLengthScaleTokens is 0: must be 1 or more"},
		{"case outside of parameters", "Plugins: []", `line 1: Plugins: unknown field; did you mean "plugins"?`},
		{"case twice", "plugins: [{type: load-aware-scorer, parameters: {threshold: 1, Threshold: 2}}]", "plugins[0].parameters.threshold: is there twice"},
		{"type that is not declared", "schedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer}]}]", `schedulingProfiles[0].plugins[0].pluginRef: no entry of plugins is named "queue-scorer"; that is a type: add an entry of it`},
		{"nothing declared", "schedulingProfiles: [{name: a, plugins: [{pluginRef: mine}]}]", `schedulingProfiles[0].plugins[0].pluginRef: no entry of plugins is named "mine"`},
		{"parser that is not declared", "parser: {pluginRef: vllmgrpc-parser}", `parser.pluginRef: no entry of plugins is named "vllmgrpc-parser"; that is a type`},
		{"label selector", "plugins: [{type: label-selector-filter, parameters: {matchLabels: {a: true}}}]", `matchLabels.a: is a boolean: must be text; put "true" in quotes`},
		{"label selector, not an object", "plugins: [{type: label-selector-filter, parameters: {matchLabels: a}}]", "matchLabels: is text: must be an object"},
		{"selector operator", "plugins: [{type: label-selector-filter, parameters: {matchExpressions: [{key: a, operator: Is}]}}]", `matchExpressions[0]: operator is "Is"`},
		{"discovery path", "plugins: [{type: file-discovery}]", "path is missing: name the file"},
		{"metrics scheme", "plugins: [{type: metrics-data-source, parameters: {scheme: ftp}}]", `scheme is "ftp": must be http or https`},
		{"metrics path", "plugins: [{type: metrics-data-source, parameters: {path: m}}]", "must begin with /"},
		{"metrics port", "plugins: [{type: metrics-data-source, parameters: {port: 70000}}]", "must be 1 to 65535"},
		{"metrics interval", "plugins: [{type: metrics-data-source, parameters: {interval: -1s}}]", "must not be negative"},
		{"metrics client", "plugins: [{type: metrics-data-source, parameters: {clientCertPath: a}}]", "set both or none"},
		{"engine name", "plugins: [{type: core-metrics-extractor, parameters: {engineConfigs: [{}]}}]", "engineConfigs[0].name is missing"},
		{"engine twice", "plugins: [{type: core-metrics-extractor, parameters: {engineConfigs: [{name: a}, {name: a}]}}]", `engineConfigs[1].name: "a" is there twice`},
		{"engine custom", "plugins: [{type: core-metrics-extractor, parameters: {engineConfigs: [{name: a, customMetrics: [{attributeKey: x}]}]}}]", "engineConfigs[0].customMetrics[0].metricSpec is missing"},
		{"detector queue", "plugins: [{type: utilization-detector, parameters: {queueDepthThreshold: 0}}]", "queueDepthThreshold is 0"},
		{"detector cache", "plugins: [{type: utilization-detector, parameters: {kvCacheUtilThreshold: 2}}]", "kvCacheUtilThreshold is 2"},
		{"detector staleness", "plugins: [{type: utilization-detector, parameters: {metricsStalenessThreshold: 0s}}]", "metricsStalenessThreshold is 0s"},
		{"detector headroom", "plugins: [{type: utilization-detector, parameters: {headroom: -1}}]", "headroom is -1"},
		{"prefix", "plugins: [{type: approx-prefix-cache-producer, parameters: {blockSizeTokens: -1}}]", "blockSizeTokens is -1: must be 0 or more"},
		{"output tokens", "plugins: [{type: inflight-load-producer, parameters: {outputRatio: -1}}]", "outputRatio is -1: must be 0 or more"},
		{"session", "plugins: [{type: session-affinity-scorer, parameters: {strategy: sticky}}]", `strategy is "sticky": must be encoded_endpoint_header or session_id`},
		{"second source", "plugins: [{type: metrics-data-source}, {type: metrics-data-source, name: b}]", `plugins[1]: there is a data source already, "metrics-data-source"`},
		{"second extractor", "plugins: [{type: core-metrics-extractor}, {type: core-metrics-extractor, name: b}]", "there is an extractor already"},

		{"models scheme", "plugins: [{type: models-data-source, parameters: {scheme: ftp}}]", `plugins[0].parameters: scheme is "ftp": must be http or https`},
		{"models path", "plugins: [{type: models-data-source, parameters: {path: models}}]", "plugins[0].parameters: path is \"models\": must begin with /"},
		{"models client", "plugins: [{type: models-data-source, parameters: {clientKeyPath: a}}]", "clientCertPath and clientKeyPath: set both or none"},
		{"models parameter", "plugins: [{type: models-data-source, parameters: {intervall: 1s}}]", `plugins[0].parameters.intervall: unknown field; did you mean "interval"?`},
		{"models interval", "plugins: [{type: models-data-source, parameters: {interval: -1s}}]", "interval is -1s: must not be negative"},
		{"models source twice", "plugins: [{type: models-data-source}, {type: models-data-source, name: b}]", `plugins[1]: there is a data source already, "models-data-source"`},
		{"agent header", "plugins: [{type: agent-identity}]", "agent-identity may still change"},
		{"models responder", "plugins: [{type: models-responder}]", "plugins[0].type: models-responder may still change: allow it with the flag --allow-experimental-plugins"},

		{"attributes missing", "plugins:\n- type: request-attribute-reporter", "line 2: plugins[0].parameters.attributes: has 0 entries: must have exactly one; declare a request-attribute-reporter for each attribute"},
		{"attributes", reporter("{key: {name: a}, expression: '1'}, {key: {name: b}, expression: '2'}"), "line 4: plugins[0].parameters.attributes: has 2 entries"},
		{"attribute name", reporter("{expression: '1'}"), "line 4: plugins[0].parameters.attributes[0].key.name: is missing"},
		{"attribute namespace", reporter("{key: {name: a, namespace: " + strings.Repeat("n", 300) + "}, expression: '1'}"), "plugins[0].parameters.attributes[0].key.namespace: must be text of at most 256 bytes"},
		{"attribute field", reporter("{key: {nane: a}, expression: '1'}"), `plugins[0].parameters.attributes[0].key.nane: unknown field; did you mean "name"?`},
		{"attribute expression", reporter("{key: {name: a}}"), "plugins[0].parameters.attributes[0].expression: is missing"},
		{"attribute syntax", reporter("{key: {name: a},\n     expression: usage.total_tokens +}"), "line 5: plugins[0].parameters.attributes[0].expression: line 1, column 21: Syntax error"},
		{"attribute variable", reporter("{key: {name: a}, expression: input_tokens}"), "undeclared reference to 'input_tokens'"},
		{"attribute condition", reporter("{key: {name: a}, expression: '1', condition: int(usage.total_tokens)}"), "plugins[0].parameters.attributes[0].condition: line 1, column 1: gives a int; it must give true or false"},
		{"too many attributes", "plugins:\n" + reporters(33), "plugins[32]: is one too many: at most 32 attributes are reported"},

		{"gate", "featureGates: [flowcontrol]", `featureGates[0]: unknown feature gate "flowcontrol"; did you mean "flowControl"?`},
		{"gate value", "featureGates: [flowControl=yes]", "must be a name, or name=true or name=false"},
		{"flow control policy", "flowControl: {priorityBands: [{priority: 1, orderingPolicyRef: x}]}", `flowControl.priorityBands[0].orderingPolicyRef: no entry of plugins is named "x"`},
		{"flow control kind", "plugins: [{type: queue-scorer}]\nflowControl: {defaultPriorityBand: {fairnessPolicyRef: queue-scorer}}", `"queue-scorer" is a scorer: must name a flow control policy`},
		{"usage limit", "flowControl: {usageLimitPolicyPluginRef: x}", "flowControl.usageLimitPolicyPluginRef: no entry"},
		{"parser", "requestHandler: {parsers: [{pluginRef: x}]}", `requestHandler.parsers[0].pluginRef: no entry of plugins is named "x"`},
		{"parser missing", "requestHandler:\n  parsers:\n  - {}", "line 3: requestHandler.parsers[0].pluginRef: is missing: name an entry of plugins"},
		{"discovery", "plugins: [{type: queue-scorer}]\ndataLayer: {discovery: {pluginRef: queue-scorer}}", `dataLayer.discovery.pluginRef: "queue-scorer" is a scorer: must name an endpoint discovery`},
		{"discovery twice", "dataLayer: {discovery: {pluginRef: a, endpoints: {pluginRef: b}}}", "contradicts dataLayer.discovery.endpoints.pluginRef"},
		{"discovery missing", "dataLayer: {discovery: {}}", "dataLayer.discovery.pluginRef: is missing"},
		{"source", "plugins: [{type: openai-parser}]\ndataLayer: {sources: [{pluginRef: openai-parser}]}", `dataLayer.sources[0].pluginRef: "openai-parser" is a parser: must name a data source`},
		{"extractor", "plugins: [{type: metrics-data-source}]\ndataLayer: {sources: [{pluginRef: metrics-data-source, extractors: [{pluginRef: x}]}]}", "dataLayer.sources[0].extractors[0].pluginRef: no entry"},
		{"replicas", "dataLayer: {crossReplica: {syncerPluginRef: a, syncInterval: 1s, publishTimeout: 1s}}", "dataLayer.crossReplica: is not available in Fairway: with the flag --replica-port replicas tell each other"},
		{"replicas, earlier", "dataLayer: {crossReplicaSyncerPluginRef: a, crossReplicaSyncInterval: 1s}", "dataLayer.crossReplicaSyncerPluginRef: is not available"},
		{"peers", "dataLayer: {peerDiscovery: {pluginRef: a}}", "dataLayer.peerDiscovery: is not available"},
		{"detector", "saturationDetector: {pluginRef: x}", `saturationDetector.pluginRef: no entry of plugins is named "x"`},

		{"profile name", profile("- plugins: []"), "line 8: schedulingProfiles[0].name: is missing"},
		{"profile reference", profile("- name: a\n  plugins:\n  - pluginRef: queue-scorer\n  - pluginRef: dicee"), `line 11: schedulingProfiles[0].plugins[1].pluginRef: no entry of plugins is named "dicee"; did you mean "dice"?`},
		{"profile without reference", profile("- {name: a, plugins: [{weight: 2}]}"), "schedulingProfiles[0].plugins[0].pluginRef: is missing"},
		{"profile kind", profile("- {name: a, plugins: [{pluginRef: metrics-data-source}]}"), `"metrics-data-source" is a data source: must name a filter or a scorer or a picker or a profile handler or a decider or a data producer`},
		{"profile filter that is not", profile("- {name: a, plugins: [{pluginRef: metrics-data-source}]}"), `"metrics-data-source" is a data source`},
		{"two pickers", profile("- {name: a, plugins: [{pluginRef: max-score-picker}, {pluginRef: dice}]}"), `"dice" is a second picker, after "max-score-picker"`},
		{"weight", profile("- {name: a, plugins: [{pluginRef: queue-scorer, weight: .nan}]}"), `weight: is ".nan": must be a number`},
		{"infinite weight", profile("- {name: a, plugins: [{pluginRef: queue-scorer, weight: 1e300}]}"), "must be a finite number"},
		{"two profiles", profile("- {name: a}\n- {name: b}"), "schedulingProfiles: there are 2 profiles (a, b): declare the handler that chooses between them"},
		{"two handlers", "plugins: [{type: single-profile-handler}, {type: single-profile-handler, name: b}]", "plugins[1]: there is a profile handler already"},
		{"too deep", strings.Repeat("[", 200) + strings.Repeat("]", 200), "must be an object"},
		{"too deep inside", "plugins: [{type: a, parameters: " + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "}]", "too deeply nested"},
		{"alias bomb", "plugins:\n- &a {type: x, parameters: [1,1,1,1,1,1,1,1,1,1]}\n- &b {type: x, parameters: [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]}\n- &c {type: x, parameters: [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]}\n- &d {type: x, parameters: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]}\n- &e {type: x, parameters: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]}\n- {type: x, parameters: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]}\n", "too large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, _, err := Load([]byte(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want %q", err, tc.want)
			}
			if c != nil {
				t.Error("an error and a configuration")
			}
			var fe *FieldError
			if !errors.As(err, &fe) {
				t.Errorf("%T is not a FieldError", err)
			}
		})
	}
}

// Several mistakes are reported together.
func TestErrorsTogether(t *testing.T) {
	_, _, err := Load([]byte("plugins:\n- type: a\n- type: b\nfeatureGates: [c]\n"))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want three errors, got: %v", err)
	}
	_, _, err = Load([]byte("plugins:\n" + strings.Repeat("- type: a\n", 500)))
	if n := strings.Count(err.Error(), "\n"); n >= maxErrors {
		t.Errorf("%d errors are too many", n+1)
	}
}

// A mistake hides no others, and is not told again where it is referred to.
func TestErrorsOnce(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"field and types", "plugins:\n- type: queue-scorr\n- {type: metrics-data-source, parameters: {schema: http}}\nschedulingProfile: []",
			`line 2: plugins[0].type: unknown plugin type "queue-scorr"; did you mean "queue-scorer"?
line 3: plugins[1].parameters.schema: unknown field; did you mean "scheme"?
line 4: schedulingProfile: unknown field; did you mean "schedulingProfiles"?`},
		{"field and reference", "plugins:\n- type: queue-scorer\nschedulingProfiles:\n- name: a\n  plugins:\n  - {pluginRef: queue-scorer, wieght: 3}\n  - {pluginRef: dice}",
			`line 6: schedulingProfiles[0].plugins[0].wieght: unknown field; did you mean "weight"?
line 7: schedulingProfiles[0].plugins[1].pluginRef: no entry of plugins is named "dice"; must be one of queue-scorer`},
		{"reference to a type that is wrong", "plugins:\n- {type: queue-scorr, name: q}\n- type: topology-affinity-filter\nschedulingProfiles: [{name: a, plugins: [{pluginRef: q}, {pluginRef: topology-affinity-filter}]}]",
			`line 2: plugins[0].type: unknown plugin type "queue-scorr"; did you mean "queue-scorer"?
line 3: plugins[1].type: topology-affinity-filter may still change: allow it with the flag --allow-experimental-plugins`},
		{"reference that is wrong, and missing", "schedulingProfiles: [{name: a, plugins: [{pluginRef: 5}]}]",
			`line 1: schedulingProfiles[0].plugins[0].pluginRef: is a number: must be text; put "5" in quotes`},
		{"plugins that are wrong, and referred to", "plugins: {}\nschedulingProfiles: [{name: a, plugins: [{pluginRef: queue-scorer}]}]",
			`line 1: plugins: is an object: must be a list`},
		{"entry that is wrong, and without a type", "plugins: [queue-scorer]", "line 1: plugins[0]: is text: must be an object"},
	} {
		if _, _, err := Load([]byte(tc.text)); err == nil || err.Error() != tc.want {
			t.Errorf("%s:\n%v\nwant\n%s", tc.name, err, tc.want)
		}
	}
}

// Every type that is known but not built has a reason, and none is built.
func TestNotBuilt(t *testing.T) {
	r := newRegistry()
	for _, typ := range r.types() {
		if _, known := notBuilt(typ); known {
			t.Errorf("%s is built, and said not to be", typ)
		}
	}
	for _, typ := range []string{
		"latency-scorer", "predicted-latency-producer", "latency-slo-admitter", "slo-headroom-tier-filter",
		"burst-prefix-cache-producer", "p2p-source-producer", "outlen-bucket",
		"k8s-notification-source",
		"dcgm-data-source", "dcgm-extractor", "redis-syncer",
		"multicluster-metrics-data-source", "multicluster-metrics-extractor", "prefix-cache-multicluster-scorer",
	} {
		_, _, err := Load([]byte("plugins:\n- type: " + typ + "\n"))
		want := "line 2: plugins[0].type: \"" + typ + "\" is not available in Fairway: "
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "; ") {
			t.Errorf("%s: error %v, want the type, the reason and what to do", typ, err)
			continue
		}
		// What is recommended exists.
		_, instead, _ := strings.Cut(err.Error(), "write ")
		for _, word := range strings.FieldsFunc(instead, func(c rune) bool { return c == ' ' || c == ',' || c == ';' }) {
			if suffix := word[strings.LastIndex(word, "-")+1:]; strings.Contains("producer scorer filter admitter extractor source handler policy", suffix) && strings.Contains(word, "-") {
				if _, ok := r[word]; !ok {
					t.Errorf("%s: %q is recommended and does not exist", typ, word)
				}
			}
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add("")
	f.Add("plugins:\n- type: queue-scorer\n")
	f.Add("plugins: [{type: label-selector-filter, parameters: {matchLabels: {a: b}, matchExpressions: [{key: a, operator: In, values: [c]}]}}]")
	f.Add("flowControl: {maxBytes: 1e999999999, defaultRequestTTL: 1m}\nfeatureGates: [dataLayer]")
	f.Add("a: &a [*a]\nplugins: *a")
	f.Add("plugins: &p\n- {type: max-score-picker, name: x}\n- &q {type: session-affinity-scorer}\nschedulingProfiles: [{name: a, plugins: [{pluginRef: x, weight: 1e3}]}]")
	f.Add("dataLayer: {discovery: {endpoints: {pluginRef: a}}, sources: [{pluginRef: b, extractors: [{pluginRef: c}]}]}")
	f.Add("data: {}\nplugins:\nsaturationDetector: {queueDepthThreshold: 1, x: &a [*a]}")
	f.Add("plugins: [&h {type: disagg-profile-handler, parameters: &p {decodeProfile: d, deciderPluginName: *p, prefillDeciderPluginName: a}}, *h]\nschedulingProfiles: [{name: d}]")
	f.Add("saturationDetector:\nflowControl: {saturationDetector: null}")
	f.Add("plugins: &p []\nsaturationDetector: &s {queueDepthThreshold: *p, kvCacheUtilThreshold: *s}\ndata: *s")
	f.Add("plugins:\n- {type: precise-prefix-cache-producer, name: p, parameters: {tokenProcessorConfig: {blockSize: 1, blockSizeTokens: 2, hashSeed: a}, indexerConfig: {kvBlockIndexConfig: {inMemoryConfig: {size: 1}, redisConfig: {a: b}}, kvCacheBackendConfigs: [{name: gpu, weight: .5}]}, kvEventsConfig: {zmqEndpoint: 'tcp://*:1', topicFilter: kv@, concurrency: 4, discoverPods: false, podDiscoveryConfig: {socketPort: 1, replaySocketPort: 2, podNamespace: n}}, speculativeIndexing: true, speculativeTTL: 1s}}\n- {type: prefix-cache-scorer, parameters: {prefixMatchInfoProducerName: p}}")
	f.Add("plugins: [{type: precise-prefix-cache-scorer, parameters: {indexerConfig: {tokenizersPoolConfig: {modelName: m, hf: {huggingFaceToken: t}, uds: {socketFile: s}, local: null}}}}]")
	f.Add("plugins: [{type: token-producer, parameters: {modelName: m, vllm: {url: 'http://a:1', timeout: 1s, mmTimeout: 2s, endpointDiscovery: {loadBalancer: {type: round-robin}}, caCertPath: c}}}, {type: tokenizer, parameters: {estimate: {image: {mode: static}}, udsTokenizerConfig: {socketFile: s}}}]")
	f.Add("plugins: [{type: precise-prefix-cache-producer, parameters: &p {kvEventsConfig: &k {podDiscoveryConfig: *k}, speculativeTTL: *p}}]")
	f.Add("\"\\xff\": 1\n? [a]\n: b")
	f.Fuzz(func(t *testing.T, text string) {
		c, _, err := Load([]byte(text))
		if (c == nil) == (err == nil) {
			t.Errorf("config %v, error %v", c, err)
		}
		if err != nil {
			return
		}
		if c.KVCache != nil {
			if _, err := index.New(index.Options{Prefix: prefix.New(prefix.Options{Shards: 1}), BlockTokens: c.KVCache.BlockTokens, TierWeights: c.KVCache.TierWeights}); err != nil {
				t.Errorf("%+v was accepted: %v", c.KVCache, err)
			}
			if !c.Tokens.Render {
				t.Error("an exact index without token ids")
			}
		}
		if c.FlowControl != nil { // its section is in words of its own
			return
		}
		effective, _, err := Options{}.Explain([]byte(text))
		if err != nil {
			t.Fatalf("what was accepted cannot be explained: %v", err)
		}
		again, _, err := Load(effective)
		if err != nil {
			t.Fatalf("what is in effect is no configuration: %v\n%s", err, effective)
		}
		if names := c.NeedsRestart(again); len(names) > 0 {
			t.Errorf("what is in effect differs in %v:\n%s", names, effective)
		}
	})
}
