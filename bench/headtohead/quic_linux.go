package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"net"
	"time"

	"github.com/quic-go/quic-go"
)

// quicProtocol is the ALPN name of a connection that sends the pattern on each stream
// for so many milliseconds (uint32).
const quicProtocol = "headtohead"

// serveQUIC serves connections until it fails.
func serveQUIC() error {
	conf, err := quicServer()
	if err != nil {
		return err
	}
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(serverNet + "1"), Port: quicPort})
	if err != nil {
		return err
	}
	if err := roomy(c); err != nil {
		return err
	}
	ln, err := quic.Listen(c, conf, nil)
	if err != nil {
		return err
	}
	for {
		conn, err := ln.Accept(context.Background())
		if err != nil {
			return err
		}
		go answerQUIC(conn) // ends with the connection
	}
}

// quicServer makes a certificate that nobody needs to trust: what is measured is the way.
func quicServer() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		NextProtos:   []string{quicProtocol},
	}, nil
}

// answerQUIC serves streams. Errors are the client's to notice.
func answerQUIC(conn *quic.Conn) {
	for {
		s, err := conn.AcceptStream(context.Background())
		if err != nil {
			return
		}
		go func() { // ends with the stream
			var ms uint32
			if binary.Read(s, binary.BigEndian, &ms) == nil {
				_, _ = produce(s, time.Duration(ms)*time.Millisecond)
				_ = s.Close()
			}
		}()
	}
}

// quicDown downloads on one stream.
func quicDown(o *order) (out outcome, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), o.For+patience)
	defer cancel()
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return outcome{}, err
	}
	defer c.Close()
	if err := roomy(c); err != nil {
		return outcome{}, err
	}
	conn, err := quic.Dial(ctx, c, &net.UDPAddr{IP: net.ParseIP(o.Network + "1"), Port: quicPort},
		&tls.Config{InsecureSkipVerify: true, NextProtos: []string{quicProtocol}}, nil)
	if err != nil {
		return outcome{}, err
	}
	defer func() { err = errors.Join(err, conn.CloseWithError(0, "")) }()
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return outcome{}, err
	}
	if err := binary.Write(s, binary.BigEndian, uint32(o.For.Milliseconds())); err != nil {
		return outcome{}, err
	}
	_ = s.SetReadDeadline(time.Now().Add(o.For + patience)) // a stream that lives takes it
	n, right := check(s)
	if !right {
		return outcome{}, fmt.Errorf("%w: %d bytes of QUIC, and then others", errWrong, n)
	}
	return outcome{Bytes: n}, nil
}
