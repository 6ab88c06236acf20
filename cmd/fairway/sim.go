package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/fairway-ai/fairway/sim/engine"
	"github.com/fairway-ai/fairway/sim/server"
)

// simOptions are the flags of sim.
type simOptions struct {
	host                                   string
	port                                   int
	config                                 server.Config
	role                                   string
	ranks                                  int
	startDelay, metricsDelay, loraLoadTime time.Duration
}

func newSimCommand() *cobra.Command {
	var o simOptions
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Run a vLLM-compatible model server that needs no GPU",
		Long: `Run one simulated vLLM server: its API, its pace, its KV cache and its metrics,
without a model. It answers with filler text and measures a token as 4 bytes.

It serves /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/responses,
/v1/messages, /v1/models, /v1/chat/completions/render, /v1/completions/render,
/tokenize, /detokenize, /reset_prefix_cache, /v1/load_lora_adapter,
/v1/unload_lora_adapter, /health, /ping, /version and /metrics. The response header
x-sim-server and the field system_fingerprint name the server that answered.

An answer has max_tokens tokens, or 16 to 64, depending on the prompt, when the
request does not say.

With --kv-events-endpoint it publishes what its KV cache stores and evicts, as vLLM
does over ZeroMQ: it listens where the host is "*" or "::", and dials any other.

--role says what it does where prompts are processed elsewhere than answers: prefill
computes prompts for others, decode fetches them, encode encodes images, and both,
the default, does the first two. They use vLLM's kv_transfer_params, and decode also
does what llm-d's sidecar does with the request headers x-prefiller-host-port and
x-encoder-hosts-ports: it calls whom they name, so let nobody but the gateway reach it.

With --data-parallel-size N it is N servers, on --port and those after it, each with
a KV cache of its own, and publishes on as many ports.

GET /admin/config shows the failure switches; POST changes those it names:

  curl localhost:8000/admin/config -d '{"errorRate": 0.1, "metricsDelay": "2s"}'

Its fields are errorRate, hang, startDelay, dropAfter, maxWaiting, metricsDelay and
metricsGarbage.`,
		Example: `  fairway sim --port 8001 --name a
  fairway sim --port 8002 --name b --kv-blocks 2048 --lora sql,json --max-loras 1
  fairway sim --port 8003 --name c --error-rate 0.05 --drop-after 20
  fairway sim --port 8001 --name prefill --role prefill
  fairway sim --port 8002 --name decode --role decode
  fairway sim --port 8004 --name d --kv-events-endpoint 'tcp://*:5557' --kv-events-replay-endpoint 'tcp://*:5657'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(cmd.Flags()); err != nil {
				return err
			}
			o.config.Role = server.Role(o.role)
			if !cmd.Flags().Changed("pd-sidecar") {
				o.config.Sidecar = o.config.Role == server.RoleDecode
			}
			return o.run(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	f, c := cmd.Flags(), &o.config
	f.StringVar(&o.host, "host", "", "`address` to listen on (default all)")
	f.IntVar(&o.port, "port", 8000, "port to listen on; 0 takes a free one")
	f.StringVar(&c.Name, "name", "", "`name` of this server in its answers (default sim-PORT)")
	f.StringVar(&c.Model, "model", server.DefaultModel, "`name` of the model to serve")
	f.Float64Var(&c.Speed, "speed", 1, "run the engine this many times as fast")
	f.StringVar(&c.APIKey, "api-key", "", "`key` that requests must carry (default $VLLM_API_KEY, where it is no argument for all to see)")
	f.StringVar(&o.role, "role", string(server.RoleBoth), "part of a request's work that the server does")
	oneOf(f, "role", texts(server.Roles()))
	f.BoolVar(&c.Sidecar, "pd-sidecar", false, "do what llm-d's sidecar does before the server (default with --role decode)")
	f.DurationVar(&c.Engine.TransferPerToken, "kv-transfer-time", engine.DefaultTransferPerToken, "duration of fetching a token's KV cache from another server, or from the CPU's")
	f.DurationVar(&c.HoldTimeout, "kv-hold-timeout", server.DefaultHoldTimeout, "time that a prompt computed for another server waits to be fetched")
	f.DurationVar(&c.Engine.EncodePerItem, "encode-time", engine.DefaultEncodePerItem, "duration of encoding an image")
	f.IntVar(&o.ranks, "data-parallel-size", 1, "data parallel ranks, each on a port of its own")
	f.BoolVar(&c.Echo, "echo", false, "answer with the last user message instead of filler")
	f.Uint64Var(&c.Seed, "seed", 0, "seed of the choice of requests that --error-rate fails")
	f.IntVar(&c.MaxModelLen, "max-model-len", 0, "tokens of prompt and answer at most (default what the KV cache holds)")

	f.IntVar(&c.Engine.Blocks, "kv-blocks", engine.DefaultBlocks, "KV cache in blocks")
	f.IntVar(&c.Engine.BlockTokens, "block-size", engine.DefaultBlockTokens, "tokens of a KV block")
	f.IntVar(&c.Engine.CPUBlocks, "kv-cpu-blocks", 0, "KV cache in the CPU's memory, in blocks, to which blocks are copied; 0 for none")
	f.IntVar(&c.Engine.MaxSeqs, "max-num-seqs", engine.DefaultMaxSeqs, "sequences that run at once")
	f.IntVar(&c.Engine.ChunkTokens, "max-num-batched-tokens", engine.DefaultChunkTokens, "tokens of a step; at least --max-num-seqs")
	f.Float64Var(&c.Engine.PrefillRate, "prefill-rate", engine.DefaultPrefillRate, "prompt tokens computed per second")
	f.DurationVar(&c.Engine.StepBase, "step-base", engine.DefaultStepBase, "fixed duration of a step")
	f.DurationVar(&c.Engine.StepPerSeq, "step-per-seq", engine.DefaultStepPerSeq, "duration added per decoding sequence")
	f.DurationVar(&c.Engine.StepPerContextToken, "step-per-context-token", engine.DefaultStepPerContextToken, "duration added per context token of decoding sequences")

	f.StringVar(&c.KVEvents.Endpoint, "kv-events-endpoint", "", "publish KV cache events at this `address`, tcp://HOST:PORT (default none)")
	f.StringVar(&c.KVEvents.ReplayEndpoint, "kv-events-replay-endpoint", "", "replay KV cache events at this `address`, tcp://HOST:PORT (default none)")
	f.StringVar(&c.KVEvents.Topic, "kv-events-topic", "", "`topic` of KV cache events (default kv@HOST:PORT@MODEL, with $POD_IP or 127.0.0.1 for a --host that is empty)")
	f.StringVar(&c.KVEvents.Format, "kv-events-format", server.KVArray, "encoding of KV cache events, of which the first two are vLLM's")
	oneOf(f, "kv-events-format", server.KVFormats())
	f.StringSliceVar(&c.KVEvents.Groups, "kv-events-groups", nil, "`kinds` of a hybrid model's groups of layers, as in full_attention,sliding_window (default events do not tell)")
	f.IntVar(&c.KVEvents.BufferSteps, "kv-events-buffer", server.DefaultBufferSteps, "messages of KV cache events that can be replayed")

	f.StringSliceVar(&c.Adapters, "lora", nil, "`names` of LoRA adapters, each a model name in requests")
	f.IntVar(&c.Engine.MaxLoRA, "max-loras", 1, "LoRA adapters in one step")
	f.DurationVar(&o.loraLoadTime, "lora-load-time", 100*time.Millisecond, "duration of loading an adapter that is not in memory")

	f.Float64Var(&c.Failures.ErrorRate, "error-rate", 0, "fraction of requests answered with status 500, 0 to 1")
	f.BoolVar(&c.Failures.Hang, "hang", false, "accept requests and never answer")
	f.DurationVar(&o.startDelay, "start-delay", 0, "answer 503 for this long after the start")
	f.IntVar(&c.Failures.DropAfter, "drop-after", 0, "close the connection after this many tokens of an answer; 0 for never")
	f.IntVar(&c.Failures.MaxWaiting, "max-waiting", 0, "answer 429 when this many requests wait; 0 for never")
	f.DurationVar(&o.metricsDelay, "metrics-delay", 0, "delay every metrics page")
	f.BoolVar(&c.Failures.MetricsGarbage, "metrics-garbage", false, "serve bytes that are no metrics page")
	f.DurationVar(&c.ShutdownTimeout, "shutdown-timeout", server.DefaultShutdownTimeout, drainUsage)
	return cmd
}

// validate reports what is wrong with the flags by their names.
func (o *simOptions) validate(fs *pflag.FlagSet) (err error) {
	fs.VisitAll(func(f *pflag.Flag) {
		if isNumber(f) && strings.HasPrefix(f.Value.String(), "-") && err == nil {
			err = fmt.Errorf("--%s: %s must not be negative", f.Name, f.Value)
		}
	})
	switch {
	case err != nil:
		return err
	case !(o.config.Speed > 0):
		return fmt.Errorf("--speed: %g must be greater than 0", o.config.Speed)
	case o.port > math.MaxUint16:
		return fmt.Errorf("--port: %d is not a port; use 1 to 65535, or 0 for a free one", o.port)
	case o.ranks < 1 || o.ranks > server.MaxRanks:
		return fmt.Errorf("--data-parallel-size: %d must be 1 to %d", o.ranks, server.MaxRanks)
	case !(o.config.Failures.ErrorRate <= 1):
		return fmt.Errorf("--error-rate: %g must be 0 to 1", o.config.Failures.ErrorRate)
	}
	return nil
}

func (o *simOptions) run(ctx context.Context, errOut io.Writer) error {
	c := o.config
	if c.APIKey == "" {
		c.APIKey = os.Getenv("VLLM_API_KEY")
	}
	c.Engine.LoRALoad = o.loraLoadTime
	c.Failures.StartDelay, c.Failures.MetricsDelay = server.Duration(o.startDelay), server.Duration(o.metricsDelay)
	var listeners []net.Listener
	var ranks []*server.Server
	served := false
	defer func() {
		if served {
			return
		}
		for _, l := range listeners {
			_ = l.Close() // nothing was accepted
		}
		for _, s := range ranks {
			s.Close()
		}
	}()
	port := o.port
	for rank := range o.ranks {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(o.host, strconv.Itoa(port)))
		if err != nil {
			return fmt.Errorf("--host, --port: %w", err)
		}
		listeners = append(listeners, l)
		port = l.Addr().(*net.TCPAddr).Port
		s, err := server.New(o.rank(c, rank, port))
		if err != nil {
			return err
		}
		ranks = append(ranks, s)
		port++
	}
	server.DataParallel(port-len(ranks), ranks)
	served = true
	group, ctx := errgroup.WithContext(ctx)
	for i, s := range ranks {
		fmt.Fprintf(errOut, "%s serves model %q on %s\n", s.Config().Name, c.Model, listeners[i].Addr())
		group.Go(func() error { return s.Run(ctx, listeners[i]) })
	}
	return group.Wait()
}

// rank is the configuration of a data parallel rank that listens on a port.
func (o *simOptions) rank(c server.Config, rank, port int) server.Config {
	c.Rank = rank
	switch {
	case c.Name == "":
		c.Name = fmt.Sprintf("sim-%d", port)
	case rank > 0:
		c.Name = fmt.Sprintf("%s-%d", c.Name, rank)
	}
	if c.KVEvents.Topic == "" {
		host := cmp.Or(o.host, os.Getenv("POD_IP"), "127.0.0.1")
		c.KVEvents.Topic = "kv@" + net.JoinHostPort(host, strconv.Itoa(port)) + "@" + c.Model
	}
	return c
}
