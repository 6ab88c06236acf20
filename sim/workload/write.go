package workload

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
)

// WriteMooncake writes a workload in the format ReadMooncake reads. Sessions are
// not part of the format: a reader finds them again from the shared blocks.
func WriteMooncake(out io.Writer, w *Workload) error {
	if w.BlockTokens != mooncakeBlock {
		return fmt.Errorf("workload %s has blocks of %d tokens; the format's are %d", w.Name, w.BlockTokens, mooncakeBlock)
	}
	buf := bufio.NewWriter(out)
	enc := json.NewEncoder(buf)
	ids := make(map[uint64]int)
	for i := range w.Requests {
		r := &w.Requests[i]
		row := struct {
			Timestamp    int64  `json:"timestamp"`
			InputLength  int    `json:"input_length"`
			OutputLength int    `json:"output_length"`
			HashIDs      []int  `json:"hash_ids"`
			Adapter      string `json:"adapter,omitempty"`
		}{r.At.Milliseconds(), r.Input, r.Output, make([]int, len(r.Hashes)), r.Adapter}
		for k, h := range r.Hashes {
			id, ok := ids[h]
			if !ok {
				id = len(ids)
				ids[h] = id
			}
			row.HashIDs[k] = id
		}
		if err := enc.Encode(row); err != nil {
			return fmt.Errorf("write trace: %w", err)
		}
	}
	return buf.Flush()
}
