package kvevents

import (
	"errors"
	"fmt"
	"math"
)

// Bounds on one event, besides the message's own size.
const (
	maxBlocksPerEvent = 1 << 16
	maxTokensPerEvent = 1 << 21
	maxBlockSize      = 1 << 16
	maxNameBytes      = 512
	maxExtraPerBlock  = 64
	// keptValues is how many values a decoder's scratch space keeps between events.
	keptValues = 1 << 16
)

// errBounds says that an event is larger than any engine's.
var errBounds = errors.New("an event is out of bounds")

// decoder turns messages into calls of a sink. Its scratch space is used again for
// every event; it is not safe for concurrent use.
type decoder struct {
	ev      event
	hashes  []uint64
	tokens  []uint32
	flat    []Extra   // of all blocks
	ends    []int     // for each block, the end of its part of flat
	extra   [][]Extra // for the sink
	stored  Stored
	removed Removed
	lora    string // the last event's, not to allocate it again
	lower   []byte
	folder  string
	folded  string
}

// event is one event of any type, as read.
type event struct {
	kind       []byte
	parent     uint64
	hasParent  bool
	blockSize  uint64
	loraID     int64
	lora       []byte
	medium     []byte
	group      int
	hasGroup   bool
	spec       []byte
	hasHashes  bool
	extraGiven bool
	salt       []byte // of an engine that has a field of its own for it
}

// The fields of events in the order of their array form, after the type.
var (
	storedFields = [...]string{
		"block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium", "lora_name",
		"extra_keys", "group_idx", "kv_cache_spec_kind",
	}
	removedFields = [...]string{"block_hashes", "medium", "group_idx"}
)

// The event types.
const (
	typeStored  = "BlockStored"
	typeRemoved = "BlockRemoved"
	typeCleared = "AllBlocksCleared"
)

// read reads one event into d. The error is errTruncated or one of its kind only
// where the message is not MessagePack, which parseBatch has excluded; any other
// concerns this event alone, and then r may be anywhere.
func (d *decoder) read(r *reader) error {
	d.ev = event{}
	d.hashes, d.tokens = trim(d.hashes), trim(d.tokens)
	d.flat, d.ends = trim(d.flat), trim(d.ends)
	if r.isMap() {
		n, err := r.object()
		if err != nil {
			return err
		}
		for range n {
			key, err := r.data()
			if err != nil {
				return err
			}
			if err := d.field(r, string(key)); err != nil {
				return err
			}
		}
		d.placeSalt()
		return nil
	}
	n, err := r.array()
	if err != nil {
		return err
	}
	if n == 0 {
		return errType
	}
	if d.ev.kind, err = r.data(); err != nil {
		return err
	}
	var fields []string
	switch string(d.ev.kind) {
	case typeStored:
		fields = storedFields[:]
	case typeRemoved:
		fields = removedFields[:]
	}
	for i := range n - 1 {
		key := ""
		if i < len(fields) {
			key = fields[i]
		}
		if err := d.field(r, key); err != nil {
			return err
		}
	}
	d.placeSalt()
	return nil
}

// trim empties a slice, and gives up its memory where that is unusually much.
func trim[T any](s []T) []T {
	if cap(s) > keptValues {
		return nil
	}
	return s[:0]
}

// field reads one field by its name in the map form; a nil is as good as absent.
func (d *decoder) field(r *reader, key string) (err error) {
	if r.null() {
		return nil
	}
	e := &d.ev
	var v uint64
	switch key {
	case "type":
		e.kind, err = r.data()
	case "block_hashes":
		err = d.readHashes(r)
	case "parent_block_hash":
		e.hasParent = true
		e.parent, err = readHash(r)
	case "token_ids":
		err = d.readTokens(r)
	case "block_size":
		e.blockSize, err = r.integer()
	case "lora_id":
		v, err = r.integer()
		e.loraID = int64(v)
	case "lora_name":
		if r.isMap() { // an earlier SGLang has no such field, and its metadata here
			err = d.readMetadata(r)
		} else {
			e.lora, err = name(r)
		}
	case "medium":
		e.medium, err = name(r)
	case "kv_cache_spec_kind":
		e.spec, err = name(r)
	case "group_idx":
		if v, err = r.integer(); v > math.MaxInt32 {
			return errBounds
		}
		e.group, e.hasGroup = int(v), true
	case "extra_keys":
		err = d.readExtra(r)
	case "cache_salt":
		e.salt, err = name(r)
	default:
		err = r.skip()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", fieldName(key), err)
	}
	return nil
}

// fieldName keeps a peer's bytes out of errors.
func fieldName(key string) string {
	for _, f := range storedFields {
		if f == key {
			return f
		}
	}
	return "field"
}

func name(r *reader) ([]byte, error) {
	b, err := r.data()
	if err == nil && len(b) > maxNameBytes {
		err = errBounds
	}
	return b, err
}

// readHash reads a block's name: an integer of any sign, or bytes, of which the
// last 8 are as good as all.
func readHash(r *reader) (uint64, error) {
	if !r.isData() {
		return r.integer()
	}
	b, err := r.data()
	if err != nil {
		return 0, err
	}
	if len(b) == 0 {
		return 0, errType
	}
	var v uint64
	for _, x := range b[max(0, len(b)-8):] {
		v = v<<8 | uint64(x)
	}
	return v, nil
}

func (d *decoder) readHashes(r *reader) error {
	n, err := r.array()
	if err != nil {
		return err
	}
	if n > maxBlocksPerEvent {
		return errBounds
	}
	for range n {
		h, err := readHash(r)
		if err != nil {
			return err
		}
		d.hashes = append(d.hashes, h)
	}
	d.ev.hasHashes = true
	return nil
}

func (d *decoder) readTokens(r *reader) error {
	n, err := r.array()
	if err != nil {
		return err
	}
	if n > maxTokensPerEvent {
		return errBounds
	}
	for range n {
		t, err := r.token()
		if errors.Is(err, errType) && r.isArray() {
			t, err = r.firstOfPair()
		}
		if err != nil {
			return err
		}
		d.tokens = append(d.tokens, t)
	}
	return nil
}

// readExtra reads, for each block, nil or a list of strings, of bytes, of numbers
// or of pairs of a hash and an offset.
func (d *decoder) readExtra(r *reader) error {
	n, err := r.array()
	if err != nil {
		return err
	}
	if n > maxBlocksPerEvent {
		return errBounds
	}
	for range n {
		if !r.null() {
			if err := d.readBlockExtra(r); err != nil {
				return err
			}
		}
		d.ends = append(d.ends, len(d.flat))
	}
	d.ev.extraGiven = true
	return nil
}

func (d *decoder) readBlockExtra(r *reader) error {
	n, err := r.array()
	if err != nil {
		return err
	}
	if n > maxExtraPerBlock {
		return errBounds
	}
	for range n {
		var x Extra
		switch {
		case r.isArray():
			m, err := r.array()
			if err != nil {
				return err
			}
			for i := range m {
				switch {
				case i == 0:
					x.Key, err = extraKey(r)
				case i == 1 && !r.isData() && !r.null():
					var v uint64
					v, err = r.integer()
					x.Offset, x.HasOffset = int64(v), true
				default:
					err = r.skip()
				}
				if err != nil {
					return err
				}
			}
		case r.null():
			continue
		default:
			if x.Key, err = extraKey(r); err != nil {
				return err
			}
		}
		d.flat = append(d.flat, x)
	}
	return nil
}

// extraKey returns a string's or bytes' content; of any other value, its encoding.
func extraKey(r *reader) ([]byte, error) {
	if r.isData() {
		return r.data()
	}
	from := r.at
	err := r.skip()
	return r.b[from:r.at], err
}
