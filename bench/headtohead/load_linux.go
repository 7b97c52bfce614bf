package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// neighbour is the address of another client than the crowd, in the same namespace.
const neighbour = "198.18.7.1"

// load measures how long pages take to load, with nothing else going on, while a crowd
// keeps the program busy, for a client with another address than the crowd's and for one
// with the same.
func (v *visit) load() error {
	if err := v.settle(); err != nil {
		return err
	}
	span := 5 * v.span
	if err := v.loadPages(order{Do: "pages", For: span}, pageQuiet, connectQuiet); err != nil {
		return err
	}
	crowd, err := v.gather(2 * span)
	if err != nil {
		return err
	}
	defer crowd.stop()
	before, err := v.cpu()
	if err != nil {
		return err
	}
	begun := time.Now()
	time.Sleep(time.Second) // for the first rush to be over
	err = errors.Join(
		v.loadPages(order{Do: "pages", For: span}, pageCrowd, connectCrowd),
		v.loadPages(order{Do: "pages", For: span, From: neighbour}, pageNeighbour, connectNeighbour),
	)
	after, cerr := v.cpu()
	took := time.Since(begun)
	r, gerr := crowd.end()
	if err = errors.Join(err, cerr, gerr); err != nil {
		return err
	}
	v.figures[crowdCPU] = (after - before).Seconds() / took.Seconds()
	v.figures[crowdUnanswered] = 100 * float64(r.Sent-r.Count) / float64(max(r.Sent, 1))
	v.figures[crowdTrickled] = float64(r.Bytes) * 8 / 1e3 / took.Seconds() / float64(v.crowd)
	return nil
}

// settle gives the client's namespace the neighbour's address too, and the way back.
func (v *visit) settle() error {
	err := v.world.client.ip("addr add " + neighbour + "/32 dev lo")
	if v.through == nil || v.network == proxyNet { // there the kernel forwards
		err = errors.Join(err, v.world.middle.ip("route add "+neighbour+"/32 via "+clientNet+"2"))
	}
	return err
}

func (v *visit) loadPages(o order, page, connect string) error {
	r, _, err := v.client(o)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	v.figures[page] = float64(r.P95.Microseconds()) / 1e3
	v.figures[connect] = float64(r.Connected.Microseconds()) / 1e3
	return nil
}

// gathered is a crowd at work.
type gathered struct {
	*process
	stdin *os.File
	out   bytes.Buffer // behind the first line; to be read when it has ended
	read  chan struct{}
}

// gather brings the crowd up.
func (v *visit) gather(span time.Duration) (*gathered, error) {
	v.progress("crowd")
	cmd, limit, err := v.command(order{Do: "crowd", Streams: v.crowd, Sockets: v.crowd * 5 / 2, For: span + time.Minute})
	if err != nil {
		return nil, err
	}
	stdin, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdin.Close()
	said, stdout := io.Pipe()
	cmd.Stdin, cmd.Stdout = stdin, stdout
	g := &gathered{stdin: tell, read: make(chan struct{})}
	if g.process, err = v.world.client.start(cmd, limit); err != nil {
		return nil, errors.Join(err, tell.Close())
	}
	go func() { // ends with the process
		<-g.ended
		stdout.Close()
	}()
	lines := bufio.NewReader(said)
	if _, err := lines.ReadString('\n'); err != nil {
		g.stop()
		return nil, errors.Join(fmt.Errorf("crowd: %w: %s", g.err, g.output.String()), tell.Close())
	}
	go func() { // ends with the process
		defer close(g.read)
		_, _ = g.out.ReadFrom(lines)
	}()
	return g, nil
}

// end ends the crowd and returns what it has to say.
func (g *gathered) end() (o outcome, err error) {
	_ = g.stdin.Close()
	<-g.ended
	<-g.read
	if g.err != nil {
		return o, fmt.Errorf("crowd: %w: %s", g.err, g.output.String())
	}
	return o, json.Unmarshal(g.out.Bytes(), &o)
}

// stop ends it in any case.
func (g *gathered) stop() {
	_ = g.stdin.Close() // again is harmless
	g.process.stop()
}
