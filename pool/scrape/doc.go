// Package scrape reads a model server's metrics page.
//
// A [Client] fetches the page and scans it as it arrives, line by line, in one
// fixed buffer: only the few series that the endpoint's [Engine] names are ever
// parsed, the rest of the page (histograms, mostly) costs one search for the end
// of each line. [Values] is what is left: queue, batch, KV cache, LoRA adapters.
//
// The package must never decide when to scrape, remember an endpoint's history,
// or log: package pool does. Every byte of a page is hostile: a line, a page, a
// list of adapters and the time a fetch takes are all bounded. Callers: package
// pool; cmd/fairway builds the Client from flags.
package scrape
