package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"syscall"
	"testing"
)

// TestHTTP: an existing client and an existing server, over extracted streams
// and over a listener of the stack, each family, both ways.
func TestHTTP(t *testing.T) {
	body := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(body)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("X-Client", r.RemoteAddr)
		w.Header().Set("X-Sent", fmt.Sprint(len(up)))
		_, _ = w.Write(body)
	})
	for _, tc := range []struct {
		name    string
		listen  string // "" is the acceptor of all addresses
		reverse bool   // the server dials the client
		url     string
	}{
		{"extracted IPv4", "", false, "http://198.51.100.7/"},
		{"extracted IPv6", "", false, "http://[2001:db8::7]/"},
		{"listener IPv4", ":8080", false, "http://10.0.0.1:8080/"},
		{"listener IPv6", "[fd00::1]:8081", false, "http://[fd00::1]:8081/"},
		{"the other way", "10.0.0.2:0", true, "http://10.0.0.2:49152/"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			from, to := pair(t, Config{}, Config{})
			if tc.reverse {
				from, to = to, from
			}
			var l net.Listener = to.TCP()
			if tc.listen != "" {
				var err error
				if l, err = to.Listen(soon(t), "tcp", tc.listen); err != nil {
					t.Fatal(err)
				}
			}
			srv := &http.Server{Handler: handler}
			done := make(chan error, 1)
			go func() { done <- srv.Serve(l) }()
			tr := &http.Transport{DialContext: retry(from)}
			client := &http.Client{Transport: tr}
			for range 3 {
				resp, err := client.Post(tc.url, "application/octet-stream", bytes.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || !bytes.Equal(got, body) || resp.Header.Get("X-Sent") != fmt.Sprint(len(body)) {
					t.Fatalf("got %d bytes, %v, server got %s", len(got), err, resp.Header.Get("X-Sent"))
				}
			}
			tr.CloseIdleConnections()
			_ = srv.Close()
			if err := <-done; err != http.ErrServerClosed {
				t.Fatalf("Serve: %v", err)
			}
		})
	}
}

// retry dials until somebody has asked the acceptor for a stream: before that it
// refuses.
func retry(s *Stack) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		for {
			c, err := s.DialContext(ctx, network, address)
			if !errors.Is(err, syscall.ECONNREFUSED) || ctx.Err() != nil {
				return c, err
			}
		}
	}
}
