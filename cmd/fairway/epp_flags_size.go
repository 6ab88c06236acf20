package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// sizeFlag is a number of bytes that may be written with a unit, as in 10MiB or 25MB.
type sizeFlag int

// String implements pflag.Value.
func (s *sizeFlag) String() string { return strconv.Itoa(int(*s)) }

// Type implements pflag.Value.
func (s *sizeFlag) Type() string { return "size" }

// Set implements pflag.Value. An empty text is 0.
func (s *sizeFlag) Set(text string) error {
	*s = 0
	if text == "" {
		return nil
	}
	// Kubernetes quantities have no B for bytes.
	q, err := resource.ParseQuantity(strings.TrimSuffix(text, "B"))
	if err != nil {
		return fmt.Errorf("%.40q is no size: write a number of bytes, or one with a unit, as in 10MiB", text)
	}
	n, whole := q.AsInt64()
	if !whole || n < 0 || n > math.MaxInt32 {
		return fmt.Errorf("%.40q must be a whole number of bytes, from 0 to %d", text, math.MaxInt32)
	}
	*s = sizeFlag(n)
	return nil
}
