// Package fire tests what must hold under fire, with real processes: Envoy, a picker
// that is a process of its own (fairway epp), and fairway run. Pickers, model servers
// and Envoy are killed under load, model servers misbehave, clients stall and leave;
// the tests check that only those requests suffer that cannot be saved, and that no
// count of requests under way is left behind. Publishers of KV cache events that lie or
// flood meet the real subscriber and index within the test's own process.
//
// It must never be imported, and its tests never assert how fast something is: waits
// end on conditions, with a deadline that only a failure reaches. The tests are
// skipped where there is no Envoy, unless FAIRWAY_ENVOY or CI is set.
package fire
