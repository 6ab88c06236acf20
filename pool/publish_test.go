package pool

import (
	"testing"
	"testing/synctest"
	"time"
)

// Those who asked are told of every change of metrics, of several at once together, and
// not under the pool's lock.
func TestOnMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, newFake())
		told := 0
		var seen uint64
		cancel := p.OnMetrics(func() {
			told++
			seen = p.Snapshot().Version
			if !p.mu.TryLock() {
				t.Error("called under the pool's lock")
				return
			}
			p.mu.Unlock()
		})
		changed := func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.publishSoonLocked(time.Now())
		}
		changed()
		synctest.Wait()
		if told != 1 || seen != p.Snapshot().Version {
			t.Fatalf("told %d times, of version %d, not %d", told, seen, p.Snapshot().Version)
		}
		for range 5 {
			changed() // within one publication
		}
		time.Sleep(2 * coalesce)
		synctest.Wait()
		if told != 2 || seen != p.Snapshot().Version {
			t.Fatalf("told %d times, of version %d, not %d", told, seen, p.Snapshot().Version)
		}
		cancel()
		changed()
		time.Sleep(2 * coalesce)
		synctest.Wait()
		if told != 2 {
			t.Errorf("told %d times, the last after cancel", told)
		}
	})
}
