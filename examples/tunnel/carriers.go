package main

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"l3extract/l3conn"
	"l3extract/l3conn/carrier"
	"l3extract/l3conn/framed"
)

const (
	// keepalive finds out in a minute that the other end is gone without a word.
	keepalive = 15 * time.Second
	// handshakeTime bounds what a stranger can hold up.
	handshakeTime = 10 * time.Second
	// maxHandshakes bounds the connections that have not authenticated yet; further
	// ones wait in the system's backlog.
	maxHandshakes = 16
)

// frames puts packets into a stream that is authenticated.
func frames(stream net.Conn, overWebSocket bool) (l3conn.Conn, error) {
	return framed.New(stream, &framed.Config{
		Keepalive: keepalive, NoDeadlines: overWebSocket, // which a deadline ends
	})
}

// dialTLS makes a carrier over TCP and TLS.
func dialTLS(ctx context.Context, address string, c *credentials) (l3conn.Conn, net.Conn, error) {
	d := tls.Dialer{Config: c.client()}
	stream, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	// With TLS 1.3 the client does not hear of its refusal in the handshake: the exit
	// says a word first, an empty frame.
	if err := hello(ctx, stream); err != nil {
		stream.Close()
		return nil, nil, err
	}
	conn, err := frames(stream, false)
	return conn, stream.(*tls.Conn).NetConn(), err
}

// hello waits for the first word of an exit that has accepted us.
func hello(ctx context.Context, stream net.Conn) error {
	if at, ok := ctx.Deadline(); ok {
		_ = stream.SetReadDeadline(at) // a broken stream says so in the Read
	}
	var empty [2]byte
	if _, err := io.ReadFull(stream, empty[:]); err != nil {
		return fmt.Errorf("the exit refuses: %w", err)
	}
	if empty != [2]byte{} {
		return errors.New("what answers is no exit")
	}
	return nil
}

// dialWebSocket makes a carrier over a WebSocket, with the token.
func dialWebSocket(ctx context.Context, address string, c *credentials) (l3conn.Conn, net.Conn, error) {
	var raw net.Conn
	transport := &http.Transport{
		TLSClientConfig: c.client(),
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, network, address)
			raw = conn
			return conn, err
		},
	}
	defer transport.CloseIdleConnections()
	ws, response, err := websocket.Dial(ctx, "wss://"+address+"/tunnel", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport},
		HTTPHeader: http.Header{"Authorization": {"Bearer " + c.token}},
	})
	if err != nil {
		if response != nil && response.StatusCode == http.StatusUnauthorized {
			return nil, nil, carrier.Permanent(errors.New("the exit does not know our token"))
		}
		return nil, nil, err
	}
	conn, err := frames(websocket.NetConn(context.Background(), ws, websocket.MessageBinary), true)
	return conn, raw, err
}

// acceptTLS takes entries on l until that is closed, and gives each that has the right
// certificate to take.
func acceptTLS(l net.Listener, c *credentials, take func(l3conn.Conn)) error {
	cfg := c.server(false)
	places := make(chan struct{}, maxHandshakes)
	for {
		places <- struct{}{}
		raw, err := l.Accept()
		if err != nil {
			for range cap(places) - 1 {
				places <- struct{}{} // until no handshake is under way
			}
			return err
		}
		go func() { // ends within handshakeTime; awaited above
			defer func() { <-places }()
			stream := tls.Server(raw, cfg)
			_ = stream.SetDeadline(time.Now().Add(handshakeTime)) // a broken stream says so below
			err := stream.Handshake()
			if err == nil {
				_, err = stream.Write([]byte{0, 0}) // see hello
			}
			var conn l3conn.Conn
			if err == nil {
				conn, err = frames(stream, false)
			}
			if err != nil {
				raw.Close()
				return
			}
			take(conn)
		}()
	}
}

// acceptWebSockets is acceptTLS for WebSockets that bring the token.
func acceptWebSockets(l net.Listener, c *credentials, take func(l3conn.Conn)) error {
	want := []byte("Bearer " + c.token)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /tunnel", func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		ws, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // it has answered
		}
		// The conn outlives the request, which is hijacked.
		conn, err := frames(websocket.NetConn(context.Background(), ws, websocket.MessageBinary), true)
		if err != nil {
			_ = ws.CloseNow()
			return
		}
		take(conn)
	})
	srv := &http.Server{
		Handler: mux, TLSConfig: c.server(true), ReadHeaderTimeout: handshakeTime,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // no HTTP/2: a WebSocket takes a connection
		ErrorLog:     quiet,
	}
	return srv.ServeTLS(l, "", "")
}
