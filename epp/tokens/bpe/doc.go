// Package bpe tokenizes text as a tokenizer.json file of Hugging Face says.
//
// It knows byte-level byte pair encoding with the ways to split text of GPT-2,
// Llama 3 and Qwen 2, the NFC normalizer, added tokens, and templates that put
// special tokens around a text. [Parse] refuses a file that asks for anything else,
// by name: ids that are almost right are worth nothing. Chat templates are not part
// of such a file, and are not known.
//
// Letters, numbers and white space are those of the Unicode version of Go's standard
// library: text with letters added to Unicode since can be split differently. So can
// a letter with more than 30 combining marks, where text is normalized.
//
// The package must never read files, start goroutines, or take more than about
// n·log n steps for n bytes of text. Callers: package epp/tokens.
package bpe
