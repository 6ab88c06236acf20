// Package sdk tests the gateway with the SDKs that clients use: Python programs with
// OpenAI's and Anthropic's packages speak with `fairway run`, a real Envoy in it, and
// fake providers behind it that answer what the transcripts in aibackend/testdata say.
// What the fake AWS Bedrock was sent is then judged by AWS's botocore, signatures
// included. It holds only tests.
//
// hack/pysdk installs the packages, with pinned hashes. Where FAIRWAY_ENVOY or CI is
// set, as by `make test`, the tests fail without them; otherwise they are skipped.
package sdk
