package refresh

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// issuer hands out numbered tokens.
type issuer struct {
	mu    sync.Mutex
	n     int
	life  time.Duration // 0: without end
	takes time.Duration
	err   error
	at    []time.Duration
	begin time.Time
}

func (i *issuer) fetch(ctx context.Context) (string, time.Time, error) {
	i.mu.Lock()
	i.n++
	n, life, takes, err := i.n, i.life, i.takes, i.err
	i.at = append(i.at, time.Since(i.begin).Round(time.Second))
	i.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return "", time.Time{}, ctx.Err()
	}
	if err != nil {
		return "", time.Time{}, err
	}
	if life == 0 {
		return strconv.Itoa(n), time.Time{}, nil
	}
	return strconv.Itoa(n), time.Now().Add(life), nil
}

func (i *issuer) set(f func(*issuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f(i)
}

func (i *issuer) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.n
}

func cacheOf(i *issuer) *Cache[string] {
	i.begin = time.Now()
	return New(Options[string]{Fetch: i.fetch, Now: time.Now, Rand: func() float64 { return 0 }, Timeout: time.Minute})
}

func want(t *testing.T, c *Cache[string], token string) {
	t.Helper()
	if got, err := c.Get(context.Background()); got != token || err != nil {
		t.Fatalf("got token %q, %v; want %q", got, err, token)
	}
}

func TestRefreshesEarly(t *testing.T) {
	for life, at := range map[time.Duration]time.Duration{
		10 * time.Hour:   8 * time.Hour,
		time.Hour:        48 * time.Minute,
		15 * time.Minute: 10 * time.Minute,
		8 * time.Minute:  4 * time.Minute,
		time.Second:      time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			i := &issuer{life: life}
			c := cacheOf(i)
			defer c.Close()
			go c.Run(t.Context())
			time.Sleep(at - time.Millisecond)
			if n := i.count(); n != 1 {
				t.Errorf("life %v: %d fetches before %v", life, n, at)
			}
			time.Sleep(2 * time.Millisecond)
			synctest.Wait()
			if n := i.count(); n != 2 {
				t.Errorf("life %v: %d fetches after %v", life, n, at)
			}
		})
	}
}

func TestJitterIsEarlier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour}
		c := cacheOf(i)
		defer c.Close()
		c.o.Rand = func() float64 { return 0.999 }
		go c.Run(t.Context())
		time.Sleep(47 * time.Minute)
		synctest.Wait()
		if i.count() != 2 {
			t.Errorf("fetches at %v, want the second between 46m and 47m", i.at)
		}
	})
}

// A valid token is handed out at once while its successor is slow to come.
func TestGetDoesNotWaitForARefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour}
		c := cacheOf(i)
		defer c.Close()
		want(t, c, "1")
		i.set(func(i *issuer) { i.takes = 30 * time.Second })
		time.Sleep(50 * time.Minute)
		at := time.Now()
		want(t, c, "1") // begins the refresh, although nobody runs the cache
		if time.Since(at) != 0 {
			t.Errorf("waited %v", time.Since(at))
		}
		time.Sleep(31 * time.Second)
		want(t, c, "2")
	})
}

func TestOneFetchForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour, takes: 10 * time.Second}
		c := cacheOf(i)
		defer c.Close()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { want(t, c, "1") })
		}
		wg.Wait()
		if i.count() != 1 {
			t.Errorf("%d fetches", i.count())
		}
	})
}

// One caller's patience ends its own wait, not the fetch.
func TestWaitIsBoundedByTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour, takes: 10 * time.Second}
		c := cacheOf(i)
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Get(ctx); !errors.Is(err, ErrWait) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		want(t, c, "1")
	})
}

func TestOldTokenIsUsedWhileFetchesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: time.Hour}
		c := cacheOf(i)
		defer c.Close()
		go c.Run(t.Context())
		want(t, c, "1")
		down := errors.New("down")
		i.set(func(i *issuer) { i.err = down })
		time.Sleep(59 * time.Minute)
		want(t, c, "1")
		if s := c.State(); !s.Valid || s.Err != down {
			t.Errorf("state %+v", s)
		}
		time.Sleep(time.Minute)
		if _, err := c.Get(t.Context()); err != down {
			t.Errorf("after its end: %v", err)
		}
		if s := c.State(); s.Valid {
			t.Errorf("state %+v", s)
		}
		i.set(func(i *issuer) { i.err = nil })
		time.Sleep(2 * time.Minute)
		if s := c.State(); !s.Valid || s.Err != nil {
			t.Errorf("after recovery: %+v", s)
		}
	})
}

func TestBackoffDoublesAndIsNotSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		i := &issuer{err: down}
		c := cacheOf(i)
		defer c.Close()
		go c.Run(t.Context())
		for range 50 { // requests do not hasten it
			time.Sleep(10 * time.Second)
			if _, err := c.Get(t.Context()); err != down {
				t.Fatal(err)
			}
		}
		seconds := []int{0, 1, 3, 7, 15, 31, 63, 127, 247, 367, 487}
		if len(i.at) != len(seconds) {
			t.Fatalf("fetches at %v, want %v", i.at, seconds)
		}
		for k, s := range seconds {
			if i.at[k] != time.Duration(s)*time.Second {
				t.Fatalf("fetches at %v, want %v", i.at, seconds)
			}
		}
	})
}

func TestRefreshEndsBackoffAndOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{err: errors.New("down"), takes: time.Second, life: time.Hour}
		c := cacheOf(i)
		defer c.Close()
		if _, err := c.Get(t.Context()); err == nil {
			t.Fatal("no error")
		}
		i.set(func(i *issuer) { i.err = nil })
		c.Refresh()
		time.Sleep(time.Second / 2)
		c.Refresh() // overtakes the second fetch, whose outcome is thrown away
		want(t, c, "3")
	})
}

func TestDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		c := cacheOf(i)
		defer c.Close()
		go c.Run(t.Context())
		want(t, c, "1")
		gone := errors.New("gone")
		c.Drop(gone)
		time.Sleep(time.Hour)
		if _, err := c.Get(t.Context()); err != gone || i.count() != 1 {
			t.Errorf("after Drop: %v, %d fetches", err, i.count())
		}
		i.set(func(i *issuer) { i.takes = time.Second })
		c.Refresh()
		time.Sleep(time.Second / 2)
		c.Drop(gone) // while a fetch is under way
		time.Sleep(time.Hour)
		if s := c.State(); s.Valid || s.Err != gone {
			t.Errorf("after Drop in a fetch: %+v", s)
		}
		c.Refresh()
		want(t, c, "3")
	})
}

func TestExpiredOnArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: -time.Second}
		c := cacheOf(i)
		defer c.Close()
		if _, err := c.Get(t.Context()); !errors.Is(err, ErrExpired) {
			t.Errorf("got %v", err)
		}
	})
}

func TestTimeoutAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{takes: time.Hour}
		c := cacheOf(i)
		at := time.Now()
		if _, err := c.Get(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(at) != time.Minute {
			t.Errorf("got %v after %v", err, time.Since(at))
		}
		ended := make(chan struct{})
		go func() { c.Run(t.Context()); close(ended) }()
		time.Sleep(2 * time.Second)
		c.Close()
		<-ended
		if _, err := c.Get(t.Context()); err != ErrClosed {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{life: 2 * time.Second}
		c := cacheOf(i)
		go c.Run(t.Context())
		var wg sync.WaitGroup
		for k := range 8 {
			wg.Go(func() {
				for range 200 {
					switch _, err := c.Get(t.Context()); {
					case err != nil && err.Error() != "gone":
						t.Error(err)
					case k == 0:
						c.Refresh()
					case k == 1:
						c.Drop(errors.New("gone"))
					case k == 2:
						c.State()
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		c.Close()
	})
}

func BenchmarkGet(b *testing.B) {
	i := &issuer{life: time.Hour}
	c := cacheOf(i)
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Get(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}
