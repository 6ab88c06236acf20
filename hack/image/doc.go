// Command image builds Fairway's container image without Docker: it cross-compiles
// the binary, puts it with certificate authorities and a user who is not root into
// layers, and writes an archive, an OCI layout or a registry's copy.
//
//	go run ./hack/image --tag fairway:dev --platform linux/amd64 --output fairway.tar
//	go run ./hack/image --tag ghcr.io/fairway-ai/fairway:v0.1.0 --push
//
// The same sources and flags give the same bytes: times are fixed, files are in
// order, the compiler is told no path. The Dockerfile makes the same image for those
// who have Docker. The command must never read anything of the machine but the Go
// toolchain, this module, and the file of certificate authorities.
//
// Callers: people, and the release.
package main
