package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"l3extract/l3conn"
	"l3extract/l3conn/carrier"
)

const (
	// page is where the demo's page is, to whoever comes through the tunnel.
	page = "192.0.2.80:80"
	// pageSize is its size in bytes.
	pageSize = 4 << 20
	// child tells this program, under whatever name it runs, that it is the demo's exit.
	child = "L3EXTRACT_TUNNEL_EXIT"
	// demoTime bounds the demo.
	demoTime = time.Minute
)

// demo is an entry whose exit is another process.
func demo(ctx context.Context, o *options, stdout io.Writer) (err error) {
	ctx, cancel := context.WithTimeout(ctx, demoTime)
	defer cancel()
	way := "TLS"
	if o.websocket {
		way = "a WebSocket"
	}
	fmt.Fprintf(stdout, "tunnel demo: an entry here, an exit in another process, and between them IP packets in frames over %s.\n\n", way)
	dir, err := os.MkdirTemp("", "tunnel")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.keys = filepath.Join(dir, "keys")
	if err := makeKeys(o.keys); err != nil {
		return err
	}
	keys, err := loadKeys(o.keys, entryName, exitName)
	if err != nil {
		return err
	}

	var raw atomic.Pointer[net.Conn]
	web, err := servePage(func() { cut(*raw.Load()) })
	if err != nil {
		return err
	}
	defer web.Close()
	stop, err := startExit(ctx, o, web.Addr, stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()

	conn, err := newEntry(o, keys, &raw, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error { return conn.Run(inner) })
	g.Go(func() error {
		defer conn.Close()
		return withClient(inner, o, conn, func(c *http.Client) error { return visit(inner, c, conn, stdout) })
	})
	if err := g.Wait(); err != nil {
		return err
	}
	return stranger(ctx, o, filepath.Join(dir, "stranger"), stdout)
}

// visit fetches the page twice; the second time the carrier is cut in the middle.
func visit(ctx context.Context, c *http.Client, conn *carrier.Conn, stdout io.Writer) error {
	if err := get(ctx, c, "http://"+page+"/", stdout); err != nil {
		return err
	}
	before := conn.Stats()
	if err := get(ctx, c, "http://"+page+"/cut", stdout); err != nil {
		return err
	}
	s := conn.Stats()
	fmt.Fprintf(stdout, "in the middle of that the carrier was cut: %d lost, %d made anew; the client's connection lived on\n",
		s.Losses-before.Losses, s.Carriers-before.Carriers)
	return nil
}

// servePage serves the page on the loopback; while somebody fetches /cut it calls
// atHalf.
func servePage(atHalf func()) (*http.Server, error) {
	content := make([]byte, pageSize)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content) // never fails
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Addr: l.Addr().String(), ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		half := content[:pageSize/2]
		_, _ = w.Write(half) // the client sees whether it came
		if r.URL.Path == "/cut" {
			atHalf()
		}
		_, _ = w.Write(content[len(half):])
	})}
	go srv.Serve(l) // ends with the Close of the caller
	return srv, nil
}

// cut breaks a connection as a middlebox does that has forgotten it.
func cut(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

// startExit runs this program once more, as the exit, and tells o where it listens.
func startExit(ctx context.Context, o *options, web string, stdout io.Writer) (stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"exit", "-keys", o.keys, "-listen", "127.0.0.1:0", "-map", page + "=" + web}
	if o.websocket {
		args = append(args, "-websocket")
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = append(os.Environ(), child+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	o.connect = strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
	fmt.Fprintf(stdout, "exit:  process %d, listening on %s\n", cmd.Process.Pid, o.connect)
	return func() error {
		if err := cmd.Process.Kill(); err != nil {
			return err
		}
		_ = cmd.Wait() // says that it was killed
		return nil
	}, nil
}

// stranger comes to the exit with keys of its own, but knows the exit's certificate.
func stranger(ctx context.Context, o *options, dir string, stdout io.Writer) error {
	if err := makeKeys(dir); err != nil {
		return err
	}
	keys, err := loadKeys(dir, entryName, exitName)
	if err != nil {
		return err
	}
	known, err := loadKeys(o.keys, entryName, exitName)
	if err != nil {
		return err
	}
	keys.other = known.other
	dial := dialTLS
	if o.websocket {
		dial = dialWebSocket
	}
	conn, _, err := dial(ctx, o.connect, keys)
	if err == nil {
		return errors.Join(errors.New("a stranger got in"), l3conn.Probe(conn).Closer.Close())
	}
	fmt.Fprintf(stdout, "a stranger with other keys: %v\n", err)
	return nil
}
