package registry

import "time"

// mostUnknown is how many unknown ids are remembered. Whoever may write to a
// topic can name any number of them.
const mostUnknown = 10_000

// cache keeps answers. What was found is true for ever, so only the room for
// it has a limit.
type cache struct {
	found map[key]Schema
	order []key // of found, the oldest first
	bytes int64
	limit int64
	// unknown says until when an id counts as unknown.
	unknown map[key]time.Time
}

func newCache(limit int64) cache {
	return cache{found: map[key]Schema{}, limit: limit, unknown: map[key]time.Time{}}
}

func (c *cache) keep(k key, s Schema) {
	delete(c.unknown, k)
	if _, ok := c.found[k]; ok {
		return
	}
	c.found[k] = s
	c.order = append(c.order, k)
	c.bytes += s.size()
	// The newest stays however large it is: it is wanted now.
	for c.bytes > c.limit && len(c.order) > 1 {
		oldest := c.order[0]
		c.order = append(c.order[:0], c.order[1:]...)
		c.bytes -= c.found[oldest].size()
		delete(c.found, oldest)
	}
}

func (c *cache) miss(k key, now time.Time) {
	if len(c.unknown) >= mostUnknown {
		for k, until := range c.unknown {
			if !now.Before(until) {
				delete(c.unknown, k)
			}
		}
	}
	if len(c.unknown) >= mostUnknown {
		clear(c.unknown)
	}
	c.unknown[k] = now.Add(unknownFor)
}

func (s Schema) size() int64 {
	n := len(s.Text)
	for _, r := range s.References {
		n += len(r.Name) + len(r.Text)
	}
	return int64(n)
}
