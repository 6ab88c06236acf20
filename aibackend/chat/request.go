package chat

import "encoding/json"

// Request is what a client asks for.
type Request struct {
	// Model is the name the client gave, before any override.
	Model string
	// System holds the instructions, wherever the client put them in the
	// conversation: no schema but OpenAI's can place them in the middle.
	System   []Part
	Messages []Message

	Tools      []Tool
	ToolChoice ToolChoice
	// ParallelTools is nil where the client left it to the model.
	ParallelTools *bool
	Format        Format

	// MaxTokens is 0 when not given.
	MaxTokens        int64
	Temperature      *float64
	TopP             *float64
	TopK             *int64
	Seed             *int64
	FrequencyPenalty *float64
	PresencePenalty  *float64
	// N is how many answers are wanted, at least 1.
	N    int64
	Stop []string

	Thinking Thinking
	// User identifies the end user to the provider.
	User string

	Stream bool
	// StreamUsage says that the client asked for usage in the stream.
	StreamUsage bool

	// Dropped names harmless fields that no provider of another schema knows, found
	// while parsing. It is in the client's words.
	Dropped []string
	// Names tells what the client's schema calls a field, for refusals.
	Names func(Field) string
	// Digest is a hash of the body, to derive identifiers from where a provider gives
	// none: unique along a conversation, the same for the same request.
	Digest uint64
}

// Role is who speaks.
type Role uint8

// The roles. Instructions are in Request.System.
const (
	User Role = iota
	Assistant
)

// Message is one turn, or a part of one: consecutive messages of one role belong
// together.
type Message struct {
	Role  Role
	Parts []Part
	// At is the message's place in the client's list, for error messages.
	At int
}

// Kind says what a part is.
type Kind uint8

// The kinds of parts.
const (
	Text Kind = iota
	Image
	Document
	Audio
	Thinks   // reasoning, with its signature
	Redacted // reasoning that only the provider can read
	ToolUse
	ToolResult
	Refusal // the model's words when it declines
)

var kindNames = [...]string{"text", "image", "document", "audio", "thinking", "redacted_thinking", "tool_use", "tool_result", "refusal"}

// String is the kind's name, for messages.
func (k Kind) String() string { return kindNames[k] }

// Part is one piece of content. Which fields count depends on the kind.
type Part struct {
	Kind Kind
	// Text is the text, the reasoning, or the refusal.
	Text string
	// Media is the source of an Image, Document or Audio.
	Media *Media
	// Signature proves the origin of reasoning (Thinks), or is the opaque data
	// (Redacted), or the thought signature of a call (ToolUse).
	Signature string
	// ID is the tool call's, for ToolUse and ToolResult.
	ID string
	// Name is the tool's.
	Name string
	// Args is the JSON object of a ToolUse.
	Args json.RawMessage
	// Content is what a tool gave.
	Content []Part
	// Failed marks a ToolResult as an error.
	Failed bool
	// Cache marks the end of a prefix to cache.
	Cache Cache
	// At is the part's place in the client's list, for error messages.
	At int
}

// Media is content that is not text. One of Data, URL and Plain is set.
type Media struct {
	// Type is the MIME type, "" when unknown.
	Type string
	// Data is base64 as it stood in the request.
	Data string
	URL  string
	// Plain is a document given as text.
	Plain string
	// Name is a file name or title.
	Name string
	// Context is what a document's author says of it.
	Context string
}

// Cache is a prompt cache mark.
type Cache struct {
	On bool
	// TTL is how long to keep, "" for the provider's default; else "5m" or "1h".
	TTL string
}

// Tool is a function the model may call.
type Tool struct {
	Name        string
	Description string
	// Schema is a JSON Schema object, nil for a tool without arguments.
	Schema json.RawMessage
	Strict *bool
	Cache  Cache
}

// ToolMode says whether the model must call tools.
type ToolMode uint8

// The modes.
const (
	ToolDefault ToolMode = iota // not given
	ToolAuto
	ToolNone
	ToolRequired
	ToolNamed
)

// ToolChoice is the mode, with a name for ToolNamed.
type ToolChoice struct {
	Mode ToolMode
	Name string
}

// FormatMode says what the answer's text must be.
type FormatMode uint8

// The modes of Format.
const (
	FormatText FormatMode = iota
	FormatJSON            // any JSON object
	FormatSchema
)

// Format asks for structured output.
type Format struct {
	Mode        FormatMode
	Name        string
	Description string
	Schema      json.RawMessage
	Strict      *bool
}

// ByTool reports whether a provider with forced tools and, unless schemaByTool, with
// structured output is asked for the format by [FormatTool].
func (f Format) ByTool(schemaByTool bool) bool {
	return f.Mode == FormatJSON || f.Mode == FormatSchema && schemaByTool
}

// ToolDescription is what [FormatTool] is described as.
func (f Format) ToolDescription() string {
	if f.Description == "" {
		return "Gives the answer as JSON."
	}
	return "Gives the answer as JSON. " + f.Description
}

// CheckFormatTool refuses what excludes that the format is asked for by [FormatTool].
func (q *Request) CheckFormatTool(provider string) *Error {
	switch {
	case len(q.Tools) > 0:
		return q.Refuse(FieldFormat, provider, "it is asked for by a tool, which other tools exclude")
	case q.Thinking.Wanted():
		return q.Refuse(FieldFormat, provider, "it is asked for by a forced tool, which reasoning excludes")
	}
	return nil
}

// ThinkingMode says how reasoning is asked for.
type ThinkingMode uint8

// The modes of Thinking.
const (
	ThinkingDefault ThinkingMode = iota
	ThinkingOff
	ThinkingBudget   // with Thinking.Budget
	ThinkingAdaptive // the model decides
)

// Thinking asks for reasoning.
type Thinking struct {
	Mode ThinkingMode
	// Budget is in tokens.
	Budget int64
	// Effort is "", "none", "minimal", "low", "medium", "high", "xhigh" or "max".
	Effort string
	// Display is how reasoning is shown: "" for the provider's default, else
	// "summarized" or "omitted".
	Display string
}

// Wanted reports whether the client asked for reasoning, by mode or effort.
func (t Thinking) Wanted() bool {
	return t.Mode == ThinkingBudget || t.Mode == ThinkingAdaptive ||
		t.Mode == ThinkingDefault && t.Effort != "" && t.Effort != "none"
}

// TitledText is a plain text document with its title before it, for schemas that
// have no plain text documents.
func (m *Media) TitledText() string {
	if m.Name == "" {
		return m.Plain
	}
	return m.Name + "\n\n" + m.Plain
}

// GeminiSignature begins the signatures that Gemini's thoughts have in the schemas
// of clients, so that they are not sent to another provider, nor another's to
// Gemini.
const GeminiSignature = "gemini:"
