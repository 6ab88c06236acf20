package main

import (
	"cmp"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/fairway-ai/fairway/epp/config"
)

// pages are the documents for users, and what they say.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "examples/*.md", "examples/*/*.md", "conformance/*.md"} {
		names, err := filepath.Glob("../../" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			out[strings.TrimPrefix(name, "../../")] = readDoc(t, name)
		}
	}
	return out
}

// codeBlocks are the fenced and the indented blocks of a page, without their indentation.
func codeBlocks(page string) []string {
	var out []string
	var block []string
	fenced, blank := false, true
	end := func() {
		if len(block) > 0 {
			out = append(out, strings.Join(block, "\n"))
		}
		block = nil
	}
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		switch text, indented := strings.CutPrefix(line, "    "); {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			end()
			fenced = !fenced
		case fenced:
			block = append(block, line)
		case indented && (len(block) > 0 || blank):
			block = append(block, text)
		case strings.TrimSpace(line) == "" && len(block) > 0:
			block = append(block, "")
		default:
			end()
		}
		blank = strings.TrimSpace(line) == ""
	}
	end()
	return out
}

var (
	loop   = regexp.MustCompile(`for (\w+) in (\w+)`)
	inline = regexp.MustCompile("`((?:bin/)?fairway [^`]+)`")
	// Before a command a prompt or variables may stand; what is behind it, up to a
	// comment, a pipe or another command, are its arguments.
	invocation = regexp.MustCompile(`(?m)(?:^|&&|&|\|)[ $]*(?:\w+=\S+ )*(?:bin/)?fairway ((?:'[^']*'|"[^"]*"|[^&|<>#\n])*)`)
	word       = regexp.MustCompile(`(?:'[^']*'|"[^"]*"|[^\s'"])+`)
)

// placeholders are what the documentation writes for a value, and one of that kind.
var placeholders = map[string]string{"N": "2", "D": "1s", "COMMAND": "run"}

// commandLines are the arguments of fairway's command lines in a block.
func commandLines(block string) [][]string {
	block = strings.ReplaceAll(block, "\\\n", " ")
	for _, m := range loop.FindAllStringSubmatch(block, -1) {
		block = strings.ReplaceAll(block, "$"+m[1], m[2])
	}
	var out [][]string
	for _, m := range invocation.FindAllStringSubmatch(block, -1) {
		var words []string
		for _, w := range word.FindAllString(m[1], -1) {
			if w != "…" {
				words = append(words, cmp.Or(placeholders[w], strings.Trim(w, `'"`)))
			}
		}
		out = append(out, words)
	}
	return out
}

// TestDocumentedCommands: each command line in the documentation is one.
func TestDocumentedCommands(t *testing.T) {
	n := 0
	for name, page := range pages(t) {
		lines := [][]string{}
		for _, block := range codeBlocks(page) {
			lines = append(lines, commandLines(block)...)
		}
		for _, m := range inline.FindAllStringSubmatch(page, -1) {
			lines = append(lines, commandLines(strings.Join(strings.Fields(m[1]), " "))...)
		}
		for _, args := range lines {
			n++
			root := newRootCommand()
			root.InitDefaultHelpCmd()
			root.InitDefaultCompletionCmd()
			cmd, rest, err := root.Find(args)
			if err == nil {
				cmd.InitDefaultHelpFlag()
				err = cmd.ParseFlags(rest)
			}
			// A flag may be named without its value.
			if err != nil && !strings.Contains(err.Error(), "needs an argument") {
				t.Errorf("%s: fairway %s: %v", name, strings.Join(args, " "), err)
				continue
			}
			if cmd.HasSubCommands() && len(cmd.Flags().Args()) > 0 {
				t.Errorf("%s: fairway %s: no such command", name, strings.Join(args, " "))
			}
		}
	}
	if n < 100 {
		t.Errorf("found only %d command lines", n)
	}
}

// yamlBlocks are the code blocks of a page, or where a block is no YAML as a whole, its
// paragraphs.
func yamlBlocks(page string) []string {
	var out []string
	for _, block := range codeBlocks(page) {
		if err := yaml.Unmarshal([]byte(block), new(map[string]yaml.Node)); err != nil {
			out = append(out, strings.Split(block, "\n\n")...)
			continue
		}
		out = append(out, block)
	}
	return out
}

// TestDocumentedConfigurations: each EndpointPickerConfig and list of endpoints in the
// documentation is accepted.
func TestDocumentedConfigurations(t *testing.T) {
	configuration := regexp.MustCompile(`(?m)^(?:plugins|schedulingProfiles|flowControl|featureGates|dataLayer|endpoints):`)
	n := 0
	for name, page := range pages(t) {
		for _, block := range yamlBlocks(page) {
			if !configuration.MatchString(block) || yaml.Unmarshal([]byte(block), new(map[string]yaml.Node)) != nil {
				continue
			}
			n++
			if strings.Contains(block, "type: example.com/") {
				continue // a plugin of one's own
			}
			file := filepath.Join(t.TempDir(), "documented.yaml")
			if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := validateFile(t.Context(), file, nil, config.Options{Experimental: true}); err != nil {
				t.Errorf("%s: %v\n%s", name, err, block)
			}
		}
	}
	if n < 8 {
		t.Errorf("found only %d configurations", n)
	}
}

// TestDocumentedLinks: each link inside the documentation leads somewhere.
func TestDocumentedLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	all := pages(t)
	n := 0
	for name, page := range all {
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			n++
			file, anchor, _ := strings.Cut(m[1], "#")
			target := name
			if file != "" {
				target = filepath.Join(filepath.Dir(name), file)
			}
			if _, err := os.Stat("../../" + target); err != nil {
				t.Errorf("%s: %s: %v", name, m[1], err)
			} else if text, ok := all[target]; ok && anchor != "" && !slices.Contains(anchors(text), anchor) {
				t.Errorf("%s: %s has no heading #%s", name, target, anchor)
			}
		}
	}
	if n < 100 {
		t.Errorf("found only %d links", n)
	}
}

// anchors are the names that headings have.
func anchors(page string) []string {
	var out []string
	drop := regexp.MustCompile("[^a-z0-9 _-]")
	for line := range strings.Lines(page) {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			out = append(out, strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-"))
		}
	}
	return out
}
