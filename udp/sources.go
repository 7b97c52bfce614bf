package udp

import "net/netip"

// source is one key of Config.MaxSocketsPerSource with the Sockets it opened.
type source struct {
	key   netip.Prefix
	socks *list[*Socket] // least recently used first
	n     int            // how many
	node  node[*source]  // in sources.byCount[n]
}

// sources keeps the accepted Sockets in the order in which they would be
// evicted: those of the source that has most, and of these the least recently
// used. So a source that floods evicts itself, and a quiet one keeps its
// Sockets. All steps take constant time. The table's mutex guards it.
type sources struct {
	total   int
	byKey   map[netip.Prefix]*source
	byCount []*list[*source] // by n; least recently used first
	most    int              // no source has more Sockets than this
}

func newSources() *sources {
	return &sources{byKey: make(map[netip.Prefix]*source)}
}

// add files s, the newest Socket, under key.
func (x *sources) add(s *Socket, key netip.Prefix) {
	src := x.byKey[key]
	if src == nil {
		src = &source{key: key, socks: newList[*Socket]()}
		src.node.owner = src
		x.byKey[key] = src
	} else {
		src.node.unlink()
	}
	s.place.source, s.place.node.owner = src, s
	src.socks.pushBack(&s.place.node)
	src.n++
	x.total++
	x.file(src)
}

// remove takes s out.
func (x *sources) remove(s *Socket) {
	src := s.place.source
	if src == nil {
		return
	}
	s.place.source = nil
	s.place.node.unlink()
	src.node.unlink()
	src.n--
	x.total--
	if src.n == 0 {
		delete(x.byKey, src.key)
	} else {
		x.file(src)
	}
	// Counts move by one, so the next lower list is the one with most.
	for x.most > 0 && x.byCount[x.most].front() == nil {
		x.most--
	}
}

// file puts src, which is in no list, where its count belongs.
func (x *sources) file(src *source) {
	for len(x.byCount) <= src.n {
		x.byCount = append(x.byCount, newList[*source]())
	}
	x.byCount[src.n].pushBack(&src.node)
	x.most = max(x.most, src.n)
}

// touch notes that s was used.
func (x *sources) touch(s *Socket) {
	if src := s.place.source; src != nil {
		src.socks.moveToBack(&s.place.node)
		x.byCount[src.n].moveToBack(&src.node)
	}
}

// count returns how many Sockets key has.
func (x *sources) count(key netip.Prefix) int {
	if src := x.byKey[key]; src != nil {
		return src.n
	}
	return 0
}

// oldestOf returns the least recently used Socket of key, which has one.
func (x *sources) oldestOf(key netip.Prefix) *Socket {
	return x.byKey[key].socks.front().owner
}

// victim returns the Socket to evict for one of key; there must be one. Of sources
// that have most, key itself comes first: with the new one it has most of all.
func (x *sources) victim(key netip.Prefix) *Socket {
	if x.count(key) == x.most {
		return x.oldestOf(key)
	}
	return x.byCount[x.most].front().owner.socks.front().owner
}
