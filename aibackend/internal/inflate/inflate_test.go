package inflate

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
)

func compress(tb testing.TB, parts ...[]byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for _, p := range parts {
		if _, err := z.Write(p); err != nil {
			tb.Fatal(err)
		}
		if err := z.Flush(); err != nil {
			tb.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func inflated(packed []byte, chunk int) (out []byte, err error) {
	r := New()
	defer r.Close()
	for err == nil {
		n := min(chunk, len(packed))
		end := n == len(packed)
		err = r.Write(packed[:n], end, func(b []byte) { out = append(out, b...) })
		packed = packed[n:]
		if end {
			break
		}
	}
	return out, err
}

func TestReader(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var want []byte
	for range 50_000 {
		want = append(want, byte('a'+rng.IntN(4)))
	}
	packed := compress(t, want[:100], want[100:])
	for _, chunk := range []int{1, 2, 3, 7, 100, 4096, len(packed)} {
		got, err := inflated(packed, chunk)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("chunks of %d: %d bytes, %v", chunk, len(got), err)
		}
	}
}

// TestNothingIsHeldBack: what the sender flushed comes out at once.
func TestNothingIsHeldBack(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	r := New()
	defer r.Close()
	for _, s := range []string{"data: a\n\n", "data: b\n\n"} {
		_, _ = z.Write([]byte(s))
		_ = z.Flush()
		var got []byte
		if err := r.Write(b.Bytes(), false, func(out []byte) { got = append(got, out...) }); err != nil || string(got) != s {
			t.Fatalf("got %q, %v", got, err)
		}
		b.Reset()
	}
}

func TestTruncated(t *testing.T) {
	packed := compress(t, []byte("hello, hello, hello"))
	for n := 0; n < len(packed); n++ {
		if _, err := inflated(packed[:n], 5); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := inflated([]byte("this is no gzip"), 4); err == nil {
		t.Error("plain text was accepted")
	}
}

func TestCloseEarly(t *testing.T) {
	r := New()
	r.Close()
	r.Close()
	r = New()
	_ = r.Write(compress(t, []byte("hello"))[:8], false, func([]byte) {})
	r.Close()
}

func FuzzReader(f *testing.F) {
	f.Add(compress(f, []byte("hello")), 3)
	f.Add([]byte("\x1f\x8b\x08"), 1)
	f.Fuzz(func(t *testing.T, packed []byte, chunk int) {
		got, err := inflated(packed, max(chunk, 1))
		var want []byte
		z, werr := gzip.NewReader(bytes.NewReader(packed))
		if werr == nil {
			want, werr = io.ReadAll(io.LimitReader(z, 1<<20))
		}
		if len(want) == 1<<20 {
			return
		}
		if (err == nil) != (werr == nil) || !bytes.Equal(got, want) {
			t.Fatalf("got %q, %v, want %q, %v", got, err, want, werr)
		}
	})
}
