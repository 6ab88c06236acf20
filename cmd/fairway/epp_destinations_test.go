package main

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestMaxDestinationsFlag(t *testing.T) {
	for args, want := range map[string]int{"": 0, "--max-destinations=1": 1, "--max-destinations=16": 16, "--max-destinations=0": -1, "--max-destinations=17": -1, "--max-destinations=-1": -1} {
		var f eppFlags
		fs := pflag.NewFlagSet("epp", pflag.ContinueOnError)
		f.register(fs)
		if err := fs.Parse(append(strings.Fields(args), "-f", "x")); err != nil {
			t.Fatal(err)
		}
		err := f.validate(fs)
		if want < 0 && (err == nil || !strings.Contains(err.Error(), "must be 1 to 16")) || want >= 0 && (err != nil || f.maxDestinations != want) {
			t.Errorf("%s: %d, %v", args, f.maxDestinations, err)
		}
	}
}
