// Package credentials puts a credential on one outgoing provider request.
//
// [New] turns a [Config] into a [Credential]: an API key, AWS credentials that
// sign with Signature Version 4, an Entra (Azure) or Google access token, or a
// header of the client that is passed on. A Credential signs requests, refreshes
// what it needs in the background, and says how it is doing. Each one stands for
// itself: it has its own refresh, its own backoff and its own status, so that a
// failing identity provider is felt by the backends that use it and by no other.
//
// # What is promised
//
//   - [Signer.Sign] either puts the credential on the request or returns an
//     [*Error]; it never lets a request pass without one. It first removes every
//     header that may carry another credential, the client's or that of the
//     provider tried before ([Strip]).
//   - Sign does not wait while a valid token is there. Where there is none it
//     joins the one request for it that is under way, for as long as its context
//     allows.
//   - Tokens are refreshed well before their end ([refresh.Cache]). When that
//     fails, the one in use stays in use until it ends, and tries are made ever
//     more seldom. When the secret behind it is gone or unusable, it is dropped at
//     once: deleting the secret withdraws the credential.
//   - No secret is in an error, a status message or a log line, and none is shown
//     by printing any type of this package. What an identity provider says in an
//     answer is not repeated either, but for its error code: it may echo what it
//     was sent.
//   - Configuration is hostile input: what a Secret holds cannot make this process
//     run a program, read a file, or talk to a host other than the cloud's own.
//
// # What it must never do
//
// Know Envoy or Kubernetes; write a credential anywhere but into a request's
// headers; read a request's body for anything but its digest. Secrets arrive as
// bytes through [SecretReader], which others implement over their informers.
//
// Package sigv4 is the signature, package refresh the token cache, package env
// finds what a process's environment configures. Callers: the translating side of
// aibackend, gateway (status), cmd/fairway.
package credentials
