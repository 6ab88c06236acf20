// Package scan reads an AI request's JSON body once, in place, as its chunks
// arrive: it validates the JSON, finds the few fields a picker needs, and hashes
// the prompt in blocks on the way. It builds no tree and copies nothing but the
// short fields it returns and the prompt block it is hashing.
//
// The package agrees with encoding/json about what is valid, what strings mean
// and which of two duplicated keys counts (the last). It must never hold a
// reference to the bytes it was given, and its memory does not grow with the
// body beyond the bounds in [Options]. Caller: package extproc.
//
// # Fields
//
// Only fields at their exact path count, and keys compare by their decoded text,
// case included. A model, user or cache_salt that is null is absent; one of
// another type, or too long, is a [*FieldError]. Since stream and the bounds on
// output tokens are only hints here and model servers differ in what they
// coerce, a value of another type is taken as absent and left for the model
// server to judge.
//
// # The prompt
//
// A prompt has up to three fields, which chain in the order a chat template puts
// them, however the body orders them: tools; system, instructions or query; and the
// main field, that is messages, prompt, input or documents. A field named again starts
// over. A field without any text (null, "", []) counts as absent.
//
// Each field becomes a stream of bytes: every key, string, number and literal
// as its decoded text behind a one-byte tag, and a tag for each bracket but the
// closing one of the field itself. White space and the way a string is escaped
// do not reach it. PromptBytes counts the text and not the tags: the keys
// ("role", "content") stand for what a chat template writes around a message.
// A number below 2^32 in an array of Completions, Embeddings or Generate is a token
// id: it counts as one token, whatever its digits.
//
// The stream is cut into blocks, by default finer at the start and coarser
// behind (see [Options.BlockBytes]), and each block is hashed as soon as it is
// full. Finish chains the hashes with a seed made of the model and the cache
// salt. Hence requests that agree in model, salt and a leading part of their
// prompt agree in the blocks of that part, and a conversation that grows keeps
// its blocks. The last, unfinished block of the main field is not reported; that
// of the other fields is, since they are complete.
//
// Bytes in strings that are not UTF-8 are hashed as they are; in the strings
// returned each is replaced by U+FFFD, as encoding/json does.
//
// The query and the documents of Rerank are such fields, like system and the main
// one. The APIs for images, audio, moderations, tokenizing and counting tokens have no
// prompt here: what they cost does not follow from their text.
//
// # Forms
//
// The bodies of image edits and variations, transcriptions and translations are
// multipart/form-data. Of such a body, the fields model, stream and user are read, and
// nothing else is kept. One that readers could take for two different requests is
// refused; see package forms.
//
// # gRPC
//
// The requests of some gRPC calls are read as well; see [Call]. Of those that hold JSON,
// it is as if it had come over HTTP, but that the model's name has no place in the body.
// Of the others, token ids and text are the main field, as Generate and Completions have
// them. Of a field that is there twice the last one counts, and of repeated ones all, as
// protobuf has it; so they may come in any order. An item that is not text is the digest
// of its hash, address or bytes, and part of the block that its place in the token ids
// begins in.
//
// # Images, audio, documents
//
// Such a part counts as [TokensPerImage] tokens and not by its length, and is
// part of the stream as a digest. Outside of tools, these strings are taken for
// one, by nothing but their key, the key of the object they are in, and their
// first bytes:
//
//   - file_data, and data in an object under input_audio or source, when not
//     empty. The exception is a source whose type came before and is "text".
//   - image_url, audio_url, video_url and file_url, and url in an object under
//     one of these, under source or under file, when it starts with data:,
//     http:// or https://.
package scan
