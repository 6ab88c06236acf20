package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/fairway-ai/fairway/epp/config"
	"github.com/fairway-ai/fairway/epp/kvcache"
	"github.com/fairway-ai/fairway/epp/metrics"
	"github.com/fairway-ai/fairway/epp/run"
	"github.com/fairway-ai/fairway/epp/tokens"
	"github.com/fairway-ai/fairway/epp/tokens/bpe"
	"github.com/fairway-ai/fairway/pool/kvevents"
)

// kvFlags are the flags for KV cache events, of fairway epp and fairway gateway.
type kvFlags struct {
	follow           bool
	bind             string
	port, replayPort int
	budget           time.Duration
	tokenizers       []string
	// given are those of the flags that say how events are followed and were set.
	given []string
	// tokensGiven is one of the others that was set, "" for none.
	tokensGiven string
}

const (
	flagKVEvents   = "kv-events"
	flagKVBind     = "kv-events-bind"
	flagKVPort     = "kv-events-port"
	flagKVReplay   = "kv-events-replay-port"
	flagKVBudget   = "token-budget"
	flagTokenizers = "tokenizer-file"
)

func (k *kvFlags) register(fs *pflag.FlagSet) {
	fs.BoolVar(&k.follow, flagKVEvents, false, "follow what every endpoint's engine reports of its KV cache, by dialling it")
	fs.StringVar(&k.bind, flagKVBind, "", "follow KV cache events of engines that dial this `address`, as in tcp://*:5557")
	fs.IntVar(&k.port, flagKVPort, kvevents.DefaultSocketPort, "port at which engines publish KV cache events; a data parallel rank adds itself")
	fs.IntVar(&k.replayPort, flagKVReplay, 0, "port at which engines replay KV cache events; 0 for none")
	fs.DurationVar(&k.budget, flagKVBudget, tokens.DefaultBudget, "longest a request waits for its token ids, by which KV cache events are matched")
	fs.StringArrayVar(&k.tokenizers, flagTokenizers, nil, "tokenizer.json for completions, `MODEL=PATH`, or PATH for all models; may be repeated")
}

// validate reports everything that is wrong.
func (k *kvFlags) validate(fs *pflag.FlagSet) []error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	k.given, k.tokensGiven = nil, ""
	for _, name := range []string{flagKVEvents, flagKVBind, flagKVPort, flagKVReplay} {
		if fs.Changed(name) && (name != flagKVEvents || k.follow) {
			k.given = append(k.given, "--"+name)
		}
	}
	for _, name := range []string{flagKVBudget, flagTokenizers} {
		if fs.Changed(name) {
			k.tokensGiven = "--" + name
		}
	}
	if k.follow && k.bind != "" {
		bad("--%s and --%s: either endpoints are dialled, or they dial; set only one", flagKVEvents, flagKVBind)
	}
	if k.bind != "" {
		if _, err := kvevents.ParseAddress(k.bind); err != nil {
			bad("--%s: %w", flagKVBind, err)
		}
	}
	if !k.follow && k.bind == "" && len(k.given) > 0 {
		bad("%s: is of use with --%s or --%s only", strings.Join(k.given, ", "), flagKVEvents, flagKVBind)
	}
	if k.bind != "" && fs.Changed(flagKVPort) {
		bad("--%s: is of no use with --%s, which names a port itself", flagKVPort, flagKVBind)
	}
	if k.port < 1 || k.port > math.MaxUint16 {
		bad("--%s: %d is not a port; use 1 to 65535", flagKVPort, k.port)
	}
	if k.replayPort < 0 || k.replayPort > math.MaxUint16 {
		bad("--%s: %d is not a port; use 1 to 65535, or 0 for none", flagKVReplay, k.replayPort)
	}
	if k.budget <= 0 {
		bad("--%s: %v must be longer than 0", flagKVBudget, k.budget)
	}
	return errs
}

// options say how KV cache events are followed, nil for not at all: as the flags say, or
// as a configuration does, which came from there. Where both do, neither wins.
func (k *kvFlags) options(c *config.Config, from string) (*kvcache.Options, error) {
	o := run.KVCache(c)
	switch {
	case o != nil && len(k.given) > 0:
		return nil, fmt.Errorf("%s, and precise-prefix-cache-producer in %s: both say how KV cache events are followed; leave one out", strings.Join(k.given, ", "), from)
	case o == nil && !k.follow && k.bind == "":
		if k.tokensGiven != "" {
			return nil, fmt.Errorf("%s: is of use with --%s or --%s, or with precise-prefix-cache-producer in the configuration", k.tokensGiven, flagKVEvents, flagKVBind)
		}
		return nil, nil
	case o == nil:
		o = &kvcache.Options{Tokens: run.Tokens(&c.Tokens)}
		o.Tokens.Engines = true
		o.Events = kvevents.Options{Bind: k.bind, SocketPort: k.port, ReplayPort: k.replayPort}
	}
	o.Tokens.Budget = k.budget
	var err error
	o.Tokens.Local, err = loadTokenizers(k.tokenizers)
	return o, err
}

// open makes what follows KV caches, and shows it in m; nil when nothing is followed.
func (k *kvFlags) open(c *eppConfig, m *metrics.Metrics, log *slog.Logger) (*kvcache.Set, error) {
	o, err := k.options(c.read, c.from)
	if o == nil || err != nil {
		return nil, err
	}
	o.Log = log
	s, err := kvcache.New(*o)
	if err != nil {
		return nil, err
	}
	m.WatchKVCache(s.Stats)
	return s, nil
}

// loadTokenizers reads the files of --tokenizer-file; nil without any.
func loadTokenizers(list []string) (func(model string) *bpe.Tokenizer, error) {
	if len(list) == 0 {
		return nil, nil
	}
	byModel := map[string]*bpe.Tokenizer{}
	var others *bpe.Tokenizer
	var errs []error
	for _, s := range list {
		model, path, named := strings.Cut(s, "=")
		if !named {
			model, path = "", s
		}
		t, err := loadTokenizer(path)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("--%s %s: %w", flagTokenizers, s, err))
		case named && byModel[model] != nil, !named && others != nil:
			errs = append(errs, fmt.Errorf("--%s %s: there is one for that already", flagTokenizers, s))
		case named:
			byModel[model] = t
		default:
			others = t
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return func(model string) *bpe.Tokenizer {
		if t := byModel[model]; t != nil {
			return t
		}
		return others
	}, nil
}

func loadTokenizer(path string) (*bpe.Tokenizer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(f, bpe.MaxFile+1))
	if err != nil {
		return nil, err
	}
	return bpe.Parse(data)
}
