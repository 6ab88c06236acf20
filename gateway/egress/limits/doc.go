// Package limits counts what clients use of rules, requests, tokens and costs, and
// refuses what goes over a rule's limits before anything is sent.
//
// # Counting
//
// A counter has eleven slots of a tenth of its period: the one that has begun and the
// ten before it, all of which count in full. So no period, wherever it begins, sees more
// than the limit, and what was used is free again after one period and a tenth at the
// latest.
//
// What a request will use is not known when it is let in. [Limiter.Admit] reserves an
// estimate, of the prompt's length and of the output that the rule's requests had so far,
// or the client's max_tokens where that is less; but never more than the limit itself, so
// that a large request has to wait for room and not forever. A reservation counts until
// the request has ended, however long that takes. What backends report replaces it; where
// a backend was at work and reported nothing, because the client left, say, the estimate
// stays. Requests that were let in together can go over a limit by no more than what they
// used beyond their estimates, and what goes over counts against the next.
//
// # Counters
//
// There is one for each limit and each model that the rule names exactly, and one for all
// other models: their names are the client's to choose. Rules are known by namespace,
// route and name, so nobody shares a counter across AIRoutes. A limit that tells clients
// apart has one for each, of which a bounded number is kept, those of the latest
// requests: values are hashed, and hostile ones cost the limit they are meant for, no
// other. Counters live as long as their limit has the same name, type and period.
//
// # Where
//
// Counters are this process's own. It must never know Envoy or read a body. Caller:
// gateway/egress.
package limits
