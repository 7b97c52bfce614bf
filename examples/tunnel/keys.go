package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// The two ends, by the names in their certificates.
const (
	exitName  = "exit"
	entryName = "entry"
)

// keyLife is how long the certificates are good.
const keyLife = 10 * 365 * 24 * time.Hour

// makeKeys writes a certificate with its key for each end, and the token, to dir. Each
// end needs its own .pem, the other's .crt, and the token.
func makeKeys(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{exitName, entryName} {
		cert, key, err := makeCertificate(name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name+".crt"), cert, 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name+".pem"), append(cert, key...), 0o600); err != nil {
			return err
		}
	}
	token := make([]byte, 32)
	_, _ = rand.Read(token) // never fails
	return os.WriteFile(filepath.Join(dir, "token"), []byte(hex.EncodeToString(token)+"\n"), 0o600)
}

// makeCertificate makes a certificate that is its own authority: its owner is whoever
// has the key, and nobody else vouches for it.
func makeCertificate(name string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(keyLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), nil
}

// credentials are what one end knows itself and the other one by.
type credentials struct {
	own   tls.Certificate
	other *x509.CertPool
	token string
}

func loadKeys(dir, own, other string) (*credentials, error) {
	mine := filepath.Join(dir, own+".pem")
	cert, err := tls.LoadX509KeyPair(mine, mine)
	if err != nil {
		return nil, err
	}
	theirs := filepath.Join(dir, other+".crt")
	text, err := os.ReadFile(theirs)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate in it", theirs)
	}
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		return nil, err
	}
	token = bytes.TrimSpace(token)
	if len(token) < 32 {
		return nil, fmt.Errorf("the token in %s is too short", dir)
	}
	return &credentials{cert, pool, string(token)}, nil
}

// server is the exit's TLS; clients must have the entry's certificate unless they come
// with a token.
func (c *credentials) server(byToken bool) *tls.Config {
	cfg := &tls.Config{Certificates: []tls.Certificate{c.own}, MinVersion: tls.VersionTLS13}
	if !byToken {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, c.other
	}
	return cfg
}

// client is the entry's TLS.
func (c *credentials) client() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{c.own}, RootCAs: c.other, ServerName: exitName, MinVersion: tls.VersionTLS13,
	}
}
