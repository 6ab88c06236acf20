// Package charts holds the Helm chart in the folder fairway, and the tests that
// render it, validate it and install it into a real API server. It must never hold
// anything the product uses. Nobody calls it.
package charts
