// Package sigv4 computes AWS Signature Version 4 in the Authorization header.
//
// It signs a body by its digest, never as "unsigned", and only what is certain to
// arrive unchanged: method, host, path, query, date, session token and content
// type. Proxies add and change other headers, content-length and
// transfer-encoding among them, and those stay out of the signature.
//
// The path is signed as it is sent: what is percent-encoded there is encoded once
// more in the canonical request, as every service but S3 expects. A model ID such
// as "anthropic.claude-v2:1" may therefore be sent with ":" or with "%3A", and an
// ARN with "%2F"; the signature fits the one that is sent.
//
// The package knows no credential source and keeps nothing but the last derived
// key. Caller: package credentials.
package sigv4
