package workload

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"
)

const (
	// mooncakeBlock is the trace format's block size in tokens.
	mooncakeBlock = 512
	// maxTraceLine bounds a trace line: a prompt of a million tokens needs some
	// 20 KB of hash ids.
	maxTraceLine = 1 << 20
	// maxAdapterName bounds the name of an adapter, in bytes.
	maxAdapterName = 256
	// thinkServiceRate and thinkTokenTime estimate how long a request took when
	// the trace was recorded, to tell thinking from waiting.
	thinkServiceRate = 20_480 // prompt tokens per second
	thinkTokenTime   = 20 * time.Millisecond
)

// ReadMooncake reads a trace in Mooncake's format: one JSON object per line with
// timestamp (milliseconds), input_length, output_length and hash_ids (512-token
// prefix blocks), and besides, adapter: the name of a LoRA adapter. The published traces collect arrivals in buckets of about
// three seconds; arrivals with equal timestamps are spread over the time to the
// next one, by rng. Errors name the line.
func ReadMooncake(name string, in io.Reader, rng *rand.Rand) (*Workload, error) {
	w := &Workload{Name: name, BlockTokens: mooncakeBlock}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxTraceLine)
	var millis []int64
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var row struct {
			Timestamp    *int64   `json:"timestamp"`
			InputLength  int      `json:"input_length"`
			OutputLength int      `json:"output_length"`
			HashIDs      []uint64 `json:"hash_ids"`
			Adapter      string   `json:"adapter"`
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n, err)
		}
		switch {
		case row.Timestamp == nil || *row.Timestamp < 0:
			return nil, fmt.Errorf("%s:%d: timestamp: must be milliseconds from the start, 0 or more", name, n)
		case row.InputLength <= 0 || row.InputLength > 1<<24:
			return nil, fmt.Errorf("%s:%d: input_length: must be 1 to %d", name, n, 1<<24)
		case row.OutputLength < 0 || row.OutputLength > 1<<24:
			return nil, fmt.Errorf("%s:%d: output_length: must be 0 to %d", name, n, 1<<24)
		case len(row.Adapter) > maxAdapterName:
			return nil, fmt.Errorf("%s:%d: adapter: the name is longer than %d bytes", name, n, maxAdapterName)
		case len(millis) > 0 && *row.Timestamp < millis[len(millis)-1]:
			return nil, fmt.Errorf("%s:%d: timestamp: must not be smaller than the line before", name, n)
		}
		want := (row.InputLength + mooncakeBlock - 1) / mooncakeBlock
		if len(row.HashIDs) > want {
			row.HashIDs = row.HashIDs[:want]
		}
		hashes := make([]uint64, len(row.HashIDs))
		for i, id := range row.HashIDs {
			hashes[i] = mix(id + 1)
		}
		millis = append(millis, *row.Timestamp)
		w.Requests = append(w.Requests, Request{
			Input: row.InputLength, Output: max(1, row.OutputLength), Hashes: hashes, Adapter: row.Adapter, Parent: -1,
		})
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, fmt.Errorf("%s: a line is longer than %d bytes", name, maxTraceLine)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(w.Requests) == 0 {
		return nil, fmt.Errorf("%s: the trace is empty", name)
	}
	spread(w.Requests, millis, rng)
	w.sortByArrival()
	linkSessions(w.Requests)
	return w, nil
}

// spread gives each request a random moment between its timestamp and the next
// different one.
func spread(reqs []Request, millis []int64, rng *rand.Rand) {
	gap := int64(3000)
	for i := 0; i < len(reqs); {
		j := i
		for j < len(reqs) && millis[j] == millis[i] {
			j++
		}
		if j < len(reqs) {
			gap = min(millis[j]-millis[i], 3000)
		}
		for k := i; k < j; k++ {
			offset := 0.0
			if j-i > 1 || gap >= 1000 {
				offset = rng.Float64() * float64(gap)
			}
			reqs[k].At = time.Duration((float64(millis[k]) + offset) * float64(time.Millisecond))
		}
		i = j
	}
}

// linkSessions finds, for each request, the latest earlier one whose prompt it
// continues, and what remains of the time between them as think time.
func linkSessions(reqs []Request) {
	last := make(map[uint64]int) // a prompt's last full block → its latest request
	for i := range reqs {
		r := &reqs[i]
		full := r.Hashes[:min(len(r.Hashes), r.Input/mooncakeBlock)]
		// A block that every prompt shares (a system prompt) makes no session: the
		// parent's whole prompt must be inside this one, and be the longest such.
		for k := len(full) - 1; k >= 1; k-- {
			p, ok := last[full[k]]
			if !ok {
				continue
			}
			took := time.Duration(float64(reqs[p].Input)/thinkServiceRate*float64(time.Second)) +
				time.Duration(reqs[p].Output)*thinkTokenTime
			r.Parent, r.Think = p, max(0, r.At-reqs[p].At-took)
			break
		}
		if len(full) > 1 {
			last[full[len(full)-1]] = i
		}
	}
}

// mix spreads small ids over 64 bits (splitmix64's finaliser).
func mix(z uint64) uint64 {
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}
