package kvevents

import (
	"log/slog"
	"math/rand/v2"
	"runtime"
	"time"
)

// Options are the settings of a [Subscriber].
type Options struct {
	// Sink is told the events. Required.
	Sink Sink
	// Bind is the address to listen on, for engines that dial ("tcp://*:5557",
	// "tcp://10.0.0.1:5557" or "host:port"); "" means that every endpoint is dialled.
	Bind string
	// AnySource lets a connection to Bind speak for endpoints of other addresses
	// than its own, as it must where a proxy is between.
	AnySource bool
	// SocketPort is where the endpoint of rank 0 publishes, when endpoints are
	// dialled; the others do so at SocketPort+rank. 0 means 5557.
	SocketPort int
	// ReplayPort is where the endpoint of rank 0 replays events; 0 means that none
	// does.
	ReplayPort int
	// TopicFilter is the prefix of the topics to ask for. "" means all of them when
	// endpoints are dialled, and "kv@" when they dial.
	TopicFilter string

	// Workers is how many endpoints' events are decoded at once; 0 means as many as
	// there are processors, and 4 at most.
	Workers int
	// QueueMessages and QueueBytes bound what one endpoint has sent and nobody has
	// decoded; 0 means 1024 and 8 MiB.
	QueueMessages, QueueBytes int
	// QueueTotalBytes bounds that of all endpoints together, besides 64 KiB that each of
	// them may have anyway; 0 means 256 MiB.
	QueueTotalBytes int
	// MaxMessage bounds one message in bytes; 0 means 8 MiB.
	MaxMessage int
	// MaxConnections bounds the connections to Bind; 0 means 4096. Unless AnySource is
	// set, an address may have 4 for each of its endpoints.
	MaxConnections int

	// Logger gets changes of state, not events; nil means slog.Default().
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// After is a timer; nil means time.After.
	After func(time.Duration) <-chan time.Time
	// Rand returns a number in [0, 1) and spreads reconnections; nil means
	// math/rand. It must be safe for concurrent use.
	Rand func() float64

	// replayIdle is replayIdle, unless a test has less time.
	replayIdle time.Duration
}

// Defaults of [Options].
const (
	DefaultSocketPort    = 5557
	DefaultQueueMessages = 1024
	DefaultQueueBytes    = 8 << 20
	DefaultQueueTotal    = 256 << 20
	DefaultMaxMessage    = 8 << 20
	DefaultMaxConns      = 4096
	maxDefaultWorkers    = 4
)

func (o Options) withDefaults() Options {
	set := func(n *int, def int) {
		if *n <= 0 {
			*n = def
		}
	}
	set(&o.SocketPort, DefaultSocketPort)
	set(&o.Workers, min(maxDefaultWorkers, runtime.GOMAXPROCS(0)))
	set(&o.QueueMessages, DefaultQueueMessages)
	set(&o.QueueBytes, DefaultQueueBytes)
	set(&o.QueueTotalBytes, DefaultQueueTotal)
	set(&o.MaxMessage, DefaultMaxMessage)
	set(&o.MaxConnections, DefaultMaxConns)
	if o.TopicFilter == "" && o.Bind != "" {
		o.TopicFilter = topicPrefix
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.After == nil {
		o.After = time.After
	}
	if o.replayIdle == 0 {
		o.replayIdle = replayIdle
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	return o
}
