// Package aibackend turns a request in the schema of an AI client into one in the
// schema of an AI provider, and the provider's answer back.
//
// [NewExchange] is called once per try with the whole request body; the [Exchange]
// it returns says what to send ([Exchange.Request]), what becomes of the response's
// headers ([Exchange.Response]) and turns the response's body, chunk by chunk
// ([Exchange.Body]), streaming or not. Usage is known at every moment
// ([Exchange.Usage]), so a client that hangs up is accounted too.
//
// Where client and provider speak the same schema the body passes byte for byte but
// for the model's name, edited at its place, and the few fields in which a cloud's
// variant differs. For streams of OpenAI's schema, stream_options.include_usage is
// switched on where the client did not, because there is no other way to know what
// a stream costs; the extra chunk with the usage is then taken out again.
//
// The other APIs (OpenAI's for text, embeddings, images and sound, Anthropic's
// messages/count_tokens, Cohere's rerank, vLLM's tokenize) pass to the providers that
// have them. Nothing in them is changed but the model's name, in forms as well; no
// option is switched on, and a stream that is cut passes as it came. Their usage is
// read in passing where they tell it: from an answer's member usage or meta, and from
// a stream's events. A failed response is treated as chat's: an error of the schema
// passes as it is, anything else is told in the schema. For some providers that have
// something like them, they are turned into it (see turns.go); for others they are
// refused with 422. Every other path is answered 404.
//
// Every other chat request goes through the neutral form in package chat, which every schema
// package (openai, anthropic, bedrock, gemini) reads and writes:
//
//	client ── openai, anthropic ──► chat.Request ──► openai, anthropic, bedrock, gemini ──► provider
//	client ◄── openai, anthropic ── chat.Event, chat.Response ◄── openai, anthropic, … ──── provider
//
// What a provider cannot express is refused with 422 and the field's name, or, where
// leaving it out is harmless, listed in [Request.Dropped]. Errors of providers and
// of this package reach the client in the client's schema, inside a stream as well;
// a stream that ends without its end marker becomes an error too.
//
// Where a provider's bytes are cut into chunks decides when the client gets something, and
// never what. A whole answer that is translated ends with its JSON document; a failed one
// that is no JSON is quoted from its start, up to 512 bytes.
//
// Memory per exchange is bounded: by [MaxBuffered] for a whole answer, by a line or
// a frame for a stream; a [Budget] bounds the whole answers of many exchanges. An
// Exchange is used by one goroutine. All bytes are taken for hostile. Nothing here reads
// a clock or a random number: what looks like either is derived from the request and the
// provider's headers.
//
// The package imports no Envoy and no Kubernetes types, does no I/O, and knows no
// credentials: it removes the client's from the request, and package credentials
// adds the provider's afterwards. Callers: package gateway and fairway run.
package aibackend
