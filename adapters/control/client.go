package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"l3extract/stack"
)

// Client asks a Server of another process. All methods may be called at once.
type Client struct {
	base  string
	token string
	http  http.Client
}

// maxReply bounds what a Client takes of an answer, in bytes: MaxLimit flows need half
// of it.
const maxReply = 8 << 20

// NewClient returns a Client for the address that the Server's Listen was called with.
// Nothing is dialled yet.
func NewClient(address, token string) (*Client, error) {
	network, addr, err := split(address)
	if err != nil {
		return nil, err
	}
	host := addr
	if network == "unix" {
		host = "localhost"
	}
	dialer := new(net.Dialer)
	return &Client{base: "http://" + host, token: token, http: http.Client{
		Timeout: maxAnswer,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, addr)
			},
			MaxConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
		},
	}}, nil
}

// Stats asks for /stats.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	var st Stats
	err := c.do(ctx, http.MethodGet, "/stats", &st)
	return st, err
}

// Flows asks for /flows.
func (c *Client) Flows(ctx context.Context, q Query) (Flows, error) {
	var f Flows
	err := c.do(ctx, http.MethodGet, "/flows?"+q.encode(), &f)
	return f, err
}

// Kill ends a flow. The error is ErrNoFlow if there is none.
func (c *Client) Kill(ctx context.Context, id stack.FlowID) error {
	return c.do(ctx, http.MethodDelete, "/flows/"+strconv.FormatUint(uint64(id), 10), nil)
}

// Close gives back idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) do(ctx context.Context, method, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) { // without the URL, which says nothing of a unix socket
			err = op
		}
		return err
	}
	defer resp.Body.Close()
	body := io.LimitReader(resp.Body, maxReply)
	if resp.StatusCode >= 300 {
		var e struct {
			Error string `json:"error"`
		}
		_ = json.NewDecoder(body).Decode(&e) // what is no error of a Server has none
		if method == http.MethodDelete && resp.StatusCode == http.StatusNotFound {
			return ErrNoFlow
		}
		return fmt.Errorf("control: %s: %s", resp.Status, e.Error)
	}
	if v == nil {
		return nil
	}
	return json.NewDecoder(body).Decode(v)
}
