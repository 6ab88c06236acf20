// Package envoygateway is Fairway as an extension server of Envoy Gateway 1.9: it
// makes rules of HTTPRoutes that send to InferencePools, AIRoutes or AIBackends work.
//
// Envoy Gateway turns Gateways and HTTPRoutes into Envoy's configuration and, before
// it is used, sends all of it to the Translation hook (PostTranslateModify). Of a
// backendRef to a pool it makes an empty cluster and forgets weights and filters. So
// the hook reads the HTTPRoute and gives every such rule
//
//   - clusters of its pools, with endpoints from Fairway's EDS server, and the
//     cluster of pickers; clusters that nothing goes to any more are dropped,
//   - an action that splits exactly as the backendRefs say. Services keep Envoy
//     Gateway's clusters. The share of a pool that is missing or not granted gets
//     500 and the others live,
//   - what its requests need: the pool's name for the picker, room for long bodies,
//     no time limit and the next endpoint on failure unless somebody set others,
//
// Every connection manager gets the ext_proc filter (disabled but for these rules), the
// removal of routing headers from clients' requests, and errors in the client's schema
// for requests to clusters of ours; and with it the cluster of pickers. Those without a
// rule of ours get them, too, and for them nothing changes by it: a listener that
// changed with the first rule and the last would answer 404 for the seconds in which
// Envoy waits for its routes. Which GatewayClass a translation is of, nobody tells, so
// that goes for all that this Envoy Gateway serves. Everything else keeps its bytes:
// other rules, other clusters, all secrets. Whatever Envoy Gateway put into a rule of
// ours stays, from rewrites and mirrors to policies.
//
// # AIRoutes and AIBackends
//
// For every AIRoute there is an HTTPRoute whose only rule sends to it, for its hosts,
// its paths and policies. In a virtual host with such routes come first
//
//   - the catalogue of models, unless somebody else's route for its path comes before,
//   - a route for each rule of each AIRoute, for requests that the picker has named it
//     for, made of Envoy Gateway's route for that AIRoute: so what policies say of the
//     AIRoute stays,
//
// and then Envoy Gateway's own, on which the picker is asked which rule it is. It may
// choose among all AIRoutes of the virtual host for which the same is done before it is
// asked. An AIRoute with another policy (access, limits) is reached on its own paths
// alone: the way over another AIRoute's would be one around the policy. Policies for
// AIRoutes that share paths belong to their Gateway. While there is no picker, requests
// go to the first pool, if the rules of all those AIRoutes begin with pools that fail
// open, and otherwise get 503.
//
// A rule of an ordinary HTTPRoute with AIBackends is a rule with one group, which the
// picker need not find.
//
// What an AIRoute comes to, an [AISource] knows. Envoy Gateway tells by an annotation
// which state it has seen, and the source is waited for a little if it has not.
//
// # Failure
//
// One tenant's mistake must not freeze the others' configuration. What is wrong with
// a reference, and any panic over a rule, costs that share or that rule: it answers
// 500, is logged once and counted. The hook fails only when
//
//   - the input is not what Envoy Gateway 1.9 sends (InvalidArgument),
//   - the AIRoutes are not known yet (Unavailable), or
//   - an HTTPRoute, pool or grant cannot be read, or there is no certificate
//     authority yet (Unavailable). Absence is an answer and is believed; an
//     unreachable API server is none, and guessing would take good routes away.
//
// Envoy Gateway then keeps its last configuration, and tries again.
//
// Where a policy fails, Envoy Gateway answers 500 itself, so that nobody gets past it,
// and so it stays. It answers the same for a rule with a backend that it does not find,
// and there the others must live; what tells the two apart is that for the latter it
// makes no cluster. Where both are the case, the policy is not enforced on the backends
// that are left.
//
// Envoy Gateway may have seen an object before our cache has. What the cache lacks,
// or what does not fit what Envoy Gateway made of it, is read from the API server.
// A newer HTTPRoute that looks the same from outside (only the weights or the kind of
// a rule's sole backendRefs changed) cannot be told from the old one.
//
// # What Envoy Gateway must be told
//
// It reads this at its start only:
//
//	extensionManagers:
//	- name: fairway
//	  backendResources:                  # Envoy Gateway's RBAC must cover them
//	  - group: inference.networking.k8s.io
//	    version: v1
//	    kind: InferencePool
//	  - group: fairway.dev
//	    version: v1alpha1
//	    kind: AIRoute
//	  - group: fairway.dev
//	    version: v1alpha1
//	    kind: AIBackend
//	  hooks:
//	    xdsTranslator:
//	      post: [Translation]
//	      translation:
//	        listener: {includeAll: true}   # the default is false
//	        route: {includeAll: true}      # the default is false
//	        cluster: {includeAll: true}    # the default is true
//	        secret: {includeAll: false}    # the default is true; keys need not travel
//	  failOpen: false
//	  maxMessageSize: 256Mi                # the default of 4M is some 1,500 rules
//	  service:
//	    fqdn:
//	      hostname: fairway-gateway.fairway-system.svc.cluster.local
//	      port: 5005
//	    tls:
//	      certificateRef:                  # tls.crt is the authority, in a Secret
//	        name: fairway-extension-ca
//
// The names of host, port and Secret are the chart's. Envoy Gateway tries UNAVAILABLE
// four times by itself. failOpen must be false: with
// true, Envoy Gateway would publish its own idea of pools, empty clusters, and every
// model would answer 503 until the hook works again; with false, what worked goes on
// working. Run two replicas, because new routes wait for the hook.
//
// The package must never write to Kubernetes, call Envoy, or decide which picker
// serves a pool. Callers: package cluster.
package envoygateway
