package jsonlex

import (
	"math"
	"strconv"
)

func (l *Lexer) beginNumber(i int, c byte, s state) int {
	l.state = s
	l.Out, l.N = nil, 0
	l.h.Begin(Number, l.base+int64(i))
	l.put(c)
	return i + 1
}

// number reads a number's bytes from chunk position i on. The first byte that is
// no part of it ends it and is not taken.
func (l *Lexer) number(b []byte, i int) int {
	for ; i < len(b); i++ {
		c := b[i]
		digit := c >= '0' && c <= '9'
		switch l.state {
		case stMinus:
			switch {
			case c == '0':
				l.state = stZero
			case digit:
				l.state = stInt
			default:
				return l.fail(i, "unexpected %q in a number", c)
			}
		case stZero, stInt:
			switch {
			case digit && l.state == stInt:
			case c == '.':
				l.state = stDot
			case c == 'e' || c == 'E':
				l.state = stE
			default:
				return l.endNumber(i)
			}
		case stFrac:
			switch {
			case digit:
			case c == 'e' || c == 'E':
				l.state = stE
			default:
				return l.endNumber(i)
			}
		case stExp:
			if !digit {
				return l.endNumber(i)
			}
		default: // stDot, stE, stESign
			switch {
			case digit && l.state == stDot:
				l.state = stFrac
			case digit:
				l.state = stExp
			case l.state == stE && (c == '+' || c == '-'):
				l.state = stESign
			default:
				return l.fail(i, "unexpected %q in a number", c)
			}
		}
		l.put(c)
	}
	return i
}

func (l *Lexer) endNumber(i int) int {
	l.state = stAfter
	l.h.End(Number, l.base+int64(i))
	l.Out = nil
	return i
}

// Int reads the text of a JSON number as a whole number, which may be written
// like 1e3 or 5.0. Numbers beyond the range of int64 are clamped to it; ok is
// false for a number with a fraction.
func Int(text []byte) (n int64, ok bool) {
	if len(text) > 0 && len(text) <= 18 {
		for _, c := range text {
			if c < '0' || c > '9' {
				return intSlow(text)
			}
			n = n*10 + int64(c-'0')
		}
		return n, true
	}
	return intSlow(text)
}

func intSlow(text []byte) (int64, bool) {
	// The error of a number out of range is of no interest: f is ±Inf then.
	f, _ := strconv.ParseFloat(string(text), 64)
	switch {
	case f >= math.MaxInt64:
		return math.MaxInt64, true
	case f <= math.MinInt64:
		return math.MinInt64, true
	case f != math.Trunc(f):
		return 0, false
	}
	return int64(f), true
}
