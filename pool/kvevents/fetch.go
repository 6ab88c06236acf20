package kvevents

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/fairway-ai/fairway/internal/zmtp"
)

// errReplayHole says that an answer has left something out, which may be asked for again.
var errReplayHole = errors.New("the replay has left events out")

// fetch runs one replay, and asks for what was left out of it.
func (src *source) fetch(ctx context.Context, target Endpoint, from uint64) error {
	ctx, cancel := context.WithTimeout(ctx, replayTimeout)
	defer cancel()
	a := answer{src: src, want: from}
	for n := 1; ; n++ {
		a.from, a.got, a.last = a.want, false, n == replayAsks
		if err := src.ask(ctx, target, &a); !errors.Is(err, errReplayHole) || a.last {
			return err
		}
	}
}

// ask asks once, and reads the answer.
func (src *source) ask(ctx context.Context, target Endpoint, a *answer) error {
	c, err := src.s.connect(ctx, target.Address, src.s.o.ReplayPort+target.Rank, zmtp.Dealer)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	defer c.Close()
	if err := c.Write(nil, binary.BigEndian.AppendUint64(nil, a.from)); err != nil {
		return fmt.Errorf("asking for a replay: %w", err)
	}
	var m zmtp.Message
	for {
		if a.got {
			if err := c.SetReadDeadline(time.Now().Add(src.s.o.replayIdle)); err != nil {
				return fmt.Errorf("reading a replay: %w", err)
			}
		}
		err := c.Read(&m)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errReplayHole
		case err != nil:
			return fmt.Errorf("reading a replay: %w", err)
		}
		if over, err := a.take(m.Frames); over || err != nil {
			return err
		}
	}
}

// answer is what a publisher sends when it is asked for the messages from a number on.
type answer struct {
	src  *source
	d    decoder
	from uint64
	want uint64 // the number that comes next
	got  bool   // a message that was asked for has come
	last bool   // what is left out now is not asked for again
}

// take takes one message in. It reports whether that was the end.
func (a *answer) take(frames [][]byte) (over bool, err error) {
	src, n := a.src, len(frames)
	if n < 2 {
		return false, errReplayOrder
	}
	payload := frames[n-1]
	if len(payload) == 0 {
		if a.want == 0 && !src.started {
			// Nothing has been published yet.
			src.started, src.next = true, 0
		}
		return true, nil
	}
	seq, ok := sequence(frames[n-2])
	switch {
	case !ok || seq == math.MaxUint64 || seq < a.want && a.want > a.from:
		return false, errReplayOrder
	case seq < a.want:
		return false, nil
	case seq > a.want && a.got && !a.last:
		return false, errReplayHole
	case seq > a.want && src.started:
		// What is between has left the publisher's buffer.
		src.reset()
	}
	a.want, a.got = seq+1, true
	src.s.stats.replayed.Add(1)
	src.apply(item{seq: seq, payload: payload}, &a.d)
	return false, nil
}
