package main

import (
	"context"
	"fmt"
	"io"
	"log"

	"l3extract/stack"
	"l3extract/tcp"
)

// endFirst is a client that ends its side and waits for the answer.
func endFirst(ctx context.Context, client *stack.Stack, out *log.Logger) error {
	c, err := client.DialContext(ctx, "tcp", fmt.Sprintf("192.0.2.7:%d", clientFirst))
	if err != nil {
		return err
	}
	defer c.Close()
	st := c.(*tcp.Stream)
	if _, err := io.WriteString(st, "hello"); err != nil {
		return err
	}
	if err := st.CloseWrite(); err != nil { // our FIN; reading goes on
		return err
	}
	said, err := io.ReadAll(st)
	if err != nil {
		return err
	}
	out.Printf("client: after its end it read %q", said)
	return nil
}

// endLast is a client that reads until the server has ended and speaks then.
func endLast(ctx context.Context, client *stack.Stack, out *log.Logger) error {
	c, err := client.DialContext(ctx, "tcp", fmt.Sprintf("[2001:db8::7]:%d", serverFirst))
	if err != nil {
		return err
	}
	defer c.Close()
	said, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	out.Printf("client: the server ended after %q, speaking now", said)
	_, err = io.WriteString(c, "good night")
	return err
}
