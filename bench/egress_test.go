package bench

import (
	"bytes"
	"strings"
	"testing"
)

func TestTranslations(t *testing.T) {
	rows, err := translations()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		// Others allocate beside it in this process, and the race detector more often,
		// but not several times for every event.
		if r.RequestKB <= 0 || r.Event <= 0 || r.EventAllocs > 3 {
			t.Errorf("%+v", r)
		}
	}
	var out bytes.Buffer
	cpu := 0.5
	err = WriteEgress(&out, EgressResult{
		Rows:        []EgressRow{{Provider: "OpenAI", BodyBytes: 1 << 10, Events: 200, FairwayCPU: &cpu}},
		Translation: rows, Streams: &StreamsRow{Streams: 7},
	})
	if err != nil || !strings.Contains(out.String(), "AWSBedrock") || !strings.Contains(out.String(), "7 streams") || !strings.Contains(out.String(), "0.500") {
		t.Errorf("%v: %s", err, out.String())
	}
}
