package explain

import (
	"fmt"
	"strconv"
	"strings"
)

// why says in words why the picked endpoint was, from nothing but the data.
func why(d *Decision) string {
	if d.Error != "" || len(d.Rows) == 0 || d.Rows[0].Rank != 1 {
		return ""
	}
	total, priced := -1, false
	for i, c := range d.Columns {
		if !d.decides(&c) {
			continue
		}
		switch c.Kind {
		case "total":
			total = i
		case "price":
			priced = true
		}
	}
	if total < 0 {
		return ""
	}
	var rivals []float64
	for j := range d.Rows {
		if j > 0 && d.candidate(j) {
			rivals = append(rivals, float64(d.Rows[j].Values[total]))
		}
	}
	mine := float64(d.Rows[0].Values[total])
	word, better, digits := "highest score", func(a, b float64) bool { return a > b }, 3
	if priced {
		word, better, digits = "lowest price", func(a, b float64) bool { return a < b }, 0
	}
	var b strings.Builder
	if len(rivals) == 0 {
		fmt.Fprintf(&b, "the only candidate (%s %s)", word[strings.Index(word, " ")+1:], number(mine, digits))
	} else {
		next := rivals[0]
		for _, v := range rivals[1:] {
			if better(v, next) {
				next = v
			}
		}
		switch {
		case next == mine:
			fmt.Fprintf(&b, "%s %s, one of several, chosen at random", word, number(mine, digits))
		case better(next, mine):
			fmt.Fprintf(&b, "%s: picked at random among the weighted candidates, score %s (best %s)", d.Policy, number(mine, digits), number(next, digits))
		default:
			fmt.Fprintf(&b, "%s %s (next %s)", word, number(mine, digits), number(next, digits))
		}
	}
	if priced {
		fmt.Fprintf(&b, ": %s of %s prompt tokens cached", number(float64(d.CachedTokens), 0), number(float64(d.PromptTokens), 0))
		if v, ok := d.value(0, "backlog-tokens"); ok {
			fmt.Fprintf(&b, "; backlog %s", number(float64(v), 0))
		}
		return b.String()
	}
	sep := ": "
	for i, c := range d.Columns {
		if c.Kind == "score" && d.decides(&c) {
			v := d.Rows[0].Values[i]
			fmt.Fprintf(&b, "%s%s %s × %s", sep, c.Name, number(float64(max(v, 0)), digits), number(float64(c.Weight), digits))
			sep = " + "
		}
	}
	return b.String()
}

// candidate reports whether the endpoint in row j could have been picked.
func (d *Decision) candidate(j int) bool {
	return d.Rows[j].Rank > 0 || d.candidateOf(j, d.Profile)
}

// candidateOf reports whether a profile's picker could have picked the endpoint in
// row j.
func (d *Decision) candidateOf(j int, profile string) bool {
	r := &d.Rows[j]
	if r.Unreachable {
		return false
	}
	for i, c := range d.Columns {
		if c.Kind == "verdict" && (c.Profile == "" || c.Profile == profile) && r.Values[i] != 1 {
			return false
		}
	}
	return true
}

// value is what column name says of row j.
func (d *Decision) value(j int, name string) (Value, bool) {
	for i, c := range d.Columns {
		if c.Name == name {
			return d.Rows[j].Values[i], true
		}
	}
	return None, false
}

// number formats v with at most digits decimals, none from 1,000 on, and
// thousands separated.
func number(v float64, digits int) string {
	if v >= 1000 || v <= -1000 {
		digits = 0
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if digits > 0 {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	whole, frac, _ := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	var b strings.Builder
	b.WriteString(sign)
	for i, c := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	if frac != "" {
		b.WriteByte('.')
		b.WriteString(frac)
	}
	return b.String()
}
