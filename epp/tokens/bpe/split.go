package bpe

import (
	"unicode"
	"unicode/utf8"
)

// splitter returns the length of the first piece of a text that is not empty.
type splitter func(string) int

// patterns are the known regular expressions; they need lookahead, so each has a
// scanner instead.
func patterns() map[string]splitter {
	return map[string]splitter{
		`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`:                                          splitGPT2,
		`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`: splitLlama3,
		`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`:      splitQwen2,
	}
}

func splitLlama3(s string) int { return splitNewer(s, 3) }
func splitQwen2(s string) int  { return splitNewer(s, 1) }

// class is what the patterns tell apart.
type class int

const (
	none class = iota // the end of the text
	letter
	number
	space
	other
)

// at returns the class and the length of the first character of s.
func at(s string) (class, int) {
	if s == "" {
		return none, 0
	}
	r, n := utf8.DecodeRuneInString(s)
	switch {
	case unicode.IsLetter(r):
		return letter, n
	case unicode.Is(unicode.N, r):
		return number, n
	case unicode.IsSpace(r):
		return space, n
	}
	return other, n
}

// run is the length of the characters of class c that s begins with, at most limit.
func run(s string, c class, limit int) int {
	n := 0
	for ; limit != 0; limit-- {
		got, size := at(s[n:])
		if got != c {
			break
		}
		n += size
	}
	return n
}

// splitGPT2 is GPT-2's pattern: a contraction, or a run of letters, of numbers or of
// others, each with a space before it, or white space.
func splitGPT2(s string) int {
	if n := contraction(s, false); n > 0 {
		return n
	}
	c, n := at(s)
	lead := 0
	if s[0] == ' ' {
		if next, _ := at(s[1:]); next != space && next != none {
			c, lead = next, 1
		}
	}
	if c != space {
		return lead + run(s[lead:], c, -1)
	}
	return blank(s, n)
}

// splitNewer is the pattern of GPT-4 and its followers, with numbers of so many
// digits at most.
func splitNewer(s string, digits int) int {
	if n := contraction(s, true); n > 0 {
		return n
	}
	c, n := at(s)
	if c == letter {
		return run(s, letter, -1)
	}
	if s[0] != '\r' && s[0] != '\n' && c != number {
		if next, _ := at(s[n:]); next == letter {
			return n + run(s[n:], letter, -1)
		}
	}
	if c == number {
		return run(s, number, digits)
	}
	lead := 0
	if s[0] == ' ' {
		if next, _ := at(s[1:]); next == other {
			c, lead = other, 1
		}
	}
	if c == other {
		n = lead + run(s[lead:], other, -1)
		for n < len(s) && (s[n] == '\r' || s[n] == '\n') {
			n++
		}
		return n
	}
	end := run(s, space, -1)
	for i := end; i > 0; i-- {
		if s[i-1] == '\r' || s[i-1] == '\n' {
			return i
		}
	}
	return blank(s, n)
}

// blank is the length of white space that s begins with, without its last character
// if something else follows; first is the length of the first character.
func blank(s string, first int) int {
	end := run(s, space, -1)
	if end == len(s) {
		return end
	}
	_, last := utf8.DecodeLastRuneInString(s[:end])
	return max(first, end-last)
}

// contraction is the length of an English one that s begins with. fold ignores case,
// and takes the long s for an s.
func contraction(s string, fold bool) int {
	if len(s) < 2 || s[0] != '\'' {
		return 0
	}
	a, b := s[1], byte(0)
	if len(s) > 2 {
		b = s[2]
	}
	if fold {
		if a == 0xc5 && b == 0xbf { // U+017F
			return 3
		}
		a, b = lower(a), lower(b)
	}
	switch {
	case a == 's', a == 't', a == 'm', a == 'd':
		return 2
	case a == 'r' && b == 'e', a == 'v' && b == 'e', a == 'l' && b == 'l':
		return 3
	}
	return 0
}

func lower(b byte) byte {
	if b >= 'A' && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}
