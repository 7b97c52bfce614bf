package dns

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// pipelineIdle is how long a connection to an upstream is kept without a query in it.
const pipelineIdle = 20 * time.Second

// pipeline is a connection to an upstream with queries in it. It has one goroutine, read.
type pipeline struct {
	owner *streams
	conn  net.Conn
	load  int // queries in it; guarded by the owner's lock

	writing chan struct{} // has room for who is in Write

	mu      sync.Mutex
	asked   map[uint16]*asked
	retired bool  // it takes no more, and ends with the last of them
	err     error // why it has ended
}

// asked is a query in a pipeline, under an id of the pipeline's own.
type asked struct {
	query    []byte // with that id
	response chan []byte
}

func newPipeline(u *streams, c net.Conn) *pipeline {
	return &pipeline{owner: u, conn: c, writing: make(chan struct{}, 1), asked: make(map[uint16]*asked)}
}

// exchange asks query, for which take has made a place.
func (p *pipeline) exchange(ctx context.Context, query []byte) ([]byte, error) {
	a, id, err := p.enter(query)
	defer p.leave(a, id)
	if err == nil {
		err = p.write(ctx, a.query)
	}
	if err != nil {
		return nil, err
	}
	select {
	case response, ok := <-a.response:
		if !ok {
			return nil, p.cause()
		}
		copy(response, query[:2])
		return response, nil
	case <-ctx.Done():
		// It may be a hole by now: others shall not fall into it.
		p.retire()
		return nil, ended(ctx, p.owner.target)
	}
}

// enter gives query an id.
func (p *pipeline) enter(query []byte) (*asked, uint16, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, 0, p.err
	}
	id := uint16(rand.Uint32())
	for p.asked[id] != nil {
		id++
	}
	a := &asked{query: append([]byte(nil), query...), response: make(chan []byte, 1)}
	binary.BigEndian.PutUint16(a.query, id)
	p.asked[id] = a
	if len(p.asked) == 1 {
		_ = p.conn.SetReadDeadline(time.Time{})
	}
	return a, id, nil
}

// leave takes a query out, answered or not.
func (p *pipeline) leave(a *asked, id uint16) {
	p.owner.mu.Lock()
	p.load--
	p.owner.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if a != nil && p.asked[id] == a {
		delete(p.asked, id)
	}
	if len(p.asked) > 0 || p.err != nil {
		return
	}
	idle := pipelineIdle
	if p.retired {
		idle = 0
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(idle)) // which ends read
}

func (p *pipeline) write(ctx context.Context, query []byte) error {
	b := binary.BigEndian.AppendUint16(make([]byte, 0, prefixSize+len(query)), uint16(len(query)))
	b = append(b, query...)
	select {
	case p.writing <- struct{}{}:
		defer func() { <-p.writing }()
	case <-ctx.Done():
		return ended(ctx, p.owner.target)
	}
	over := context.AfterFunc(ctx, func() { p.fail(ended(ctx, p.owner.target)) }) // half a message may be out
	defer over()
	if _, err := p.conn.Write(b); err != nil {
		p.fail(err)
		return p.cause()
	}
	return nil
}

// read hands responses to those who wait, until the connection ends.
func (p *pipeline) read() {
	r := bufio.NewReader(p.conn)
	for {
		var size [prefixSize]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			p.fail(err)
			return
		}
		b := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(r, b); err != nil {
			p.fail(err)
			return
		}
		if !p.give(b) {
			p.owner.stats.ignored.Add(1)
		}
	}
}

// give hands a response to whom it is for, if it is for somebody.
func (p *pipeline) give(b []byte) bool {
	if len(b) < headerSize {
		return false
	}
	id := binary.BigEndian.Uint16(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.asked[id]
	if a == nil || responds(b, a.query) != nil {
		return false
	}
	delete(p.asked, id)
	a.response <- b // it has room for one
	return true
}

// retire has the pipeline end once it is empty.
func (p *pipeline) retire() {
	p.owner.retire(p)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired = true
}

// fail ends the pipeline and all that wait in it.
func (p *pipeline) fail(err error) {
	p.owner.retire(p)
	p.owner.mu.Lock()
	delete(p.owner.all, p)
	p.owner.mu.Unlock()
	p.mu.Lock()
	if p.err != nil {
		p.mu.Unlock()
		return
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if p.err = err; !errors.As(err, new(*net.OpError)) {
		p.err = &net.OpError{Op: "exchange", Net: "tcp", Addr: p.conn.RemoteAddr(), Err: err}
	}
	for _, a := range p.asked {
		close(a.response)
	}
	clear(p.asked)
	p.mu.Unlock()
	_ = p.conn.Close()
}

func (p *pipeline) cause() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *pipeline) broken() bool { return p.cause() != nil }

// padded is query with a length that says little of the name in it: RFC 7830, and RFC
// 8467, 4.1 for the size of the blocks.
func padded(query []byte) []byte {
	const block, optionHead = 128, 4
	var m dns.Msg
	if m.Unpack(query) != nil {
		return query
	}
	opt := m.IsEdns0()
	if opt == nil {
		return query
	}
	opt.Option = append(opt.Option, &dns.EDNS0_PADDING{
		Padding: make([]byte, (block-(len(query)+optionHead)%block)%block),
	})
	p, err := m.Pack()
	if err != nil {
		return query
	}
	return p
}
