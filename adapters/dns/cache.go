package dns

import (
	"container/list"
	"sync"
	"time"
)

// cache holds answers until their TTL ends, and for some time longer if stale ones may
// be given. It is bounded by entries and bytes; what was given least recently goes.
type cache struct {
	entries, bytes int           // its bounds
	stale          time.Duration // Config.Stale

	mu     sync.Mutex // a leaf
	held   int        // bytes
	byKey  map[key]*list.Element
	recent list.List // of *cached, the last given first
}

// cached is an answer in a cache.
type cached struct {
	key    key
	answer *answer
	retry  time.Time // until then it is given although it is stale: the upstream has failed or is slow
}

// What an entry takes beside its answer and its name, about.
const cachedOverhead = 300

func (e *cached) size() int { return e.answer.size() + len(e.key.name) + cachedOverhead }

// staleRetry is how long after a failure the upstream is not asked again, nor waited for, for what there
// is a stale answer for: RFC 8767, 5.
const staleRetry = 30 * time.Second

// newCache returns nil, which holds nothing, for bounds that are negative.
func newCache(entries, bytes int, stale time.Duration) *cache {
	if entries < 0 || bytes < 0 {
		return nil
	}
	return &cache{entries: entries, bytes: bytes, stale: stale, byKey: make(map[key]*list.Element)}
}

// get returns the answer for k, or nil. It is fresh if it may be given without asking.
func (c *cache) get(k key, now time.Time) (a *answer, fresh bool) {
	if c == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.byKey[k]
	if at == nil {
		return nil, false
	}
	e := at.Value.(*cached)
	age := now.Sub(e.answer.made)
	if age >= e.answer.ttl+c.stale {
		c.remove(at)
		return nil, false
	}
	c.recent.MoveToFront(at)
	return e.answer, age < e.answer.ttl || now.Before(e.retry)
}

// put keeps a for its TTL, instead of what there was.
func (c *cache) put(k key, a *answer) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.byKey[k]; at != nil {
		c.remove(at)
	}
	e := &cached{key: k, answer: a}
	if a.ttl <= 0 || e.size() > c.bytes/8 {
		return
	}
	c.byKey[k] = c.recent.PushFront(e)
	c.held += e.size()
	for len(c.byKey) > c.entries || c.held > c.bytes {
		c.remove(c.recent.Back())
	}
}

// late has the stale answer a for k given for a while without asking for it.
func (c *cache) late(k key, a *answer, now time.Time) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.byKey[k]; at != nil && at.Value.(*cached).answer == a { // else there is a newer one
		at.Value.(*cached).retry = now.Add(staleRetry)
	}
}

func (c *cache) remove(at *list.Element) {
	e := c.recent.Remove(at).(*cached)
	delete(c.byKey, e.key)
	c.held -= e.size()
}

// clear forgets everything.
func (c *cache) clear() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.byKey)
	c.recent.Init()
	c.held = 0
}

func (c *cache) size() (entries, bytes int) {
	if c == nil {
		return 0, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byKey), c.held
}
