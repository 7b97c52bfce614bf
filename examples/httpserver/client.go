package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"

	"l3extract/stack"
)

// fetch is the client of the demo, an http.Client that dials through its Stack.
func fetch(ctx context.Context, client *stack.Stack, out *log.Logger) error {
	transport := &http.Transport{DialContext: client.DialContext}
	defer transport.CloseIdleConnections()
	browser := &http.Client{Transport: transport}
	for _, ask := range []struct {
		method, url string
		body        []byte
	}{
		{http.MethodGet, "http://192.0.2.80/", nil},
		{http.MethodGet, "http://[2001:db8::80]/a/page", nil},
		{http.MethodPost, "http://192.0.2.80/length", make([]byte, 1<<20)},
	} {
		request, err := http.NewRequestWithContext(ctx, ask.method, ask.url, bytes.NewReader(ask.body))
		if err != nil {
			return err
		}
		response, err := browser.Do(request)
		if err != nil {
			return err
		}
		said, err := io.ReadAll(response.Body)
		if err = errors.Join(err, response.Body.Close()); err != nil {
			return err
		}
		out.Printf("%s %s: %s: %s", ask.method, ask.url, response.Status, said)
	}
	return nil
}
