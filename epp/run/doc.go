// Package run runs an endpoint picker from one's own main: what fairway epp does with
// a file of endpoints, for programs that bring plugins of their own. See package
// epp/plugin, and the example.
//
// It joins packages epp/config, pool and epp and adds nothing to them. It must never
// read a flag, an environment variable or a cluster: endpoints that are not in a file
// come from Options.Source. Callers: programs of others, and cmd/fairway, which shares
// what turns a configuration into options of other packages.
package run
