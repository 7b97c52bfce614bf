// Command httpserver puts an http.Handler that exists already behind raw IP: it
// is the web server of every address that the packets go to.
//
//	go run ./examples/httpserver                  a client in this process; no privileges
//	sudo go run ./examples/httpserver -tun l3e0   then: curl http://198.18.0.80/whatever
//
// With -tun this host is 198.18.0.1 and fd6c:3378::1 on the interface, the rest
// of their networks is the example, and so is whatever else you route there.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"

	"l3extract/examples/internal/attach"
	"l3extract/stack"
)

func main() { attach.Main(run) }

func run(ctx context.Context, args []string, stdout io.Writer) error {
	link, err := attach.Open(args, stdout)
	if err != nil {
		return err
	}
	defer link.Close()
	s, err := stack.New(link.Conn, nil)
	if err != nil {
		return err
	}
	// A Stack without addresses of its own listens on all there are. Other ports
	// are refused; with s.TCP() in its place this would be all ports.
	listener, err := s.Listen(ctx, "tcp", ":80")
	if err != nil {
		return err
	}
	out := log.New(stdout, "", 0)
	serve := func() error { return http.Serve(listener, handler()) }
	return link.Run(ctx, s, serve, func(ctx context.Context, client *stack.Stack) error {
		return fetch(ctx, client, out)
	})
}

// handler is the existing one: it knows nothing of packets. The client's address
// and the one it dialled are where every http.Handler finds them.
func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{page...}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "page %q of %s on %v for %s\n",
			r.PathValue("page"), r.Host, r.Context().Value(http.LocalAddrContextKey), r.RemoteAddr)
	})
	mux.HandleFunc("POST /length", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%d bytes\n", n)
	})
	return mux
}
