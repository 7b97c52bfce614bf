package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"
)

// What the client writes when everything is fetched, and before what it could
// not try.
const (
	demoDone    = "."
	demoSkipped = "skipped "
)

// demoClient is the main of the demo's command: it fetches, says what it got, and
// keeps its connections open until its input ends.
func demoClient([]string) int {
	var hosts []netip.AddrPort
	for _, h := range demoHosts {
		if h.Addr().Is4() || hasIPv6() {
			hosts = append(hosts, h)
			continue
		}
		fmt.Printf("%s%v: there is no IPv6 here\n", demoSkipped, h)
	}
	if err := demoFetch(os.Stdout, demoHTTP(new(net.Dialer).DialContext), hosts); err != nil {
		fmt.Fprintln(os.Stderr, "l3run demo:", err)
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// demoHTTP is a client that takes its connections from dial, and only there.
func demoHTTP(dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	const patience = 30 * time.Second
	return &http.Client{Transport: &http.Transport{DialContext: dial}, Timeout: patience}
}

func demoFetch(out io.Writer, client *http.Client, hosts []netip.AddrPort) error {
	for _, host := range hosts {
		if err := demoGet(out, client, "http://"+host.String()+"/"); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out, demoDone)
	return err
}

func demoGet(out io.Writer, client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, resp.Body)
	if err != nil {
		return fmt.Errorf("%s: after %d bytes: %w", url, n, err)
	}
	if n != demoSize || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: got %s, %d bytes; want %d", url, resp.Status, n, demoSize)
	}
	_, err = fmt.Fprintf(out, "GET %-25s %s, %d bytes, SHA-256 %.4x...\n", url, resp.Status, n, sum.Sum(nil))
	return err
}

// hasIPv6 tells whether this network namespace has an IPv6 address that is not
// the loopback's.
func hasIPv6() bool {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if p, ok := a.(*net.IPNet); ok && p.IP.To4() == nil && !p.IP.IsLoopback() {
			return true
		}
	}
	return false
}
