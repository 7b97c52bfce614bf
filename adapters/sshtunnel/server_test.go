package sshtunnel

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"l3extract/adapters/internal/fakeproxy"
)

// server is an SSH server in the process, with a password, that answers requests for
// channels as the test wants.
type server struct {
	address string
	keys    map[string]ssh.PublicKey // by type
	logins  atomic.Int64

	mu    sync.Mutex
	conns []*ssh.ServerConn
}

// newServer serves until the test ends. open is called for every channel; it owns it.
func newServer(t *testing.T, open func(n ssh.NewChannel)) *server {
	t.Helper()
	s := &server{keys: make(map[string]ssh.PublicKey)}
	config := &ssh.ServerConfig{
		PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if string(password) != "s3cret" {
				return nil, ssh.ErrNoAuth
			}
			return nil, nil
		},
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []any{ed, ec} {
		signer, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		config.AddHostKey(signer)
		s.keys[signer.PublicKey().Type()] = signer.PublicKey()
	}
	s.address = fakeproxy.Serve(t, func(c *net.TCPConn) {
		sc, channels, requests, err := ssh.NewServerConn(c, config)
		if err != nil {
			return
		}
		s.logins.Add(1)
		s.mu.Lock()
		s.conns = append(s.conns, sc)
		s.mu.Unlock()
		var wg sync.WaitGroup
		wg.Go(func() { ssh.DiscardRequests(requests) })
		for n := range channels {
			wg.Go(func() { open(n) })
		}
		wg.Wait()
	})
	return s
}

// kill ends all connections.
func (s *server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

// echoes accepts a channel and sends back what comes.
func echoes(n ssh.NewChannel) {
	ch, requests, err := n.Accept()
	if err != nil {
		return
	}
	done := make(chan struct{})
	go func() { // ends with the channel
		defer close(done)
		ssh.DiscardRequests(requests)
	}()
	b := make([]byte, 1<<15)
	for {
		k, err := ch.Read(b)
		if k > 0 {
			_, _ = ch.Write(b[:k])
		}
		if err != nil {
			break
		}
	}
	_ = ch.CloseWrite()
	_ = ch.Close()
	<-done
}

// newKey returns the text of a private key and its public part.
func newKey(t *testing.T, passphrase string) (private []byte, public ssh.PublicKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(block), signer.PublicKey()
}
