package refresh

import "time"

// backoff is the wait after the failures so far, of which a random part of up to a
// quarter is taken off.
func (c *Cache[T]) backoff() time.Duration {
	d := c.o.MinBackoff << min(c.failures-1, 20)
	if d <= 0 || d > c.o.MaxBackoff {
		d = c.o.MaxBackoff
	}
	return d - time.Duration(float64(d)*c.o.Rand()/4)
}

// refreshAt is when to replace a token that was just fetched.
func (c *Cache[T]) refreshAt(now, expires time.Time) int64 {
	if expires.IsZero() {
		return never
	}
	life := expires.Sub(now)
	lead := min(max(life/5, 5*time.Minute), life/2)
	lead += time.Duration(float64(lead) * c.o.Rand() / 10)
	// The same token may come back time and again until shortly before its end.
	return now.Add(max(life-lead, time.Second)).UnixNano()
}
