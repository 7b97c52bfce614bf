package socks5

import (
	"l3extract/adapters/internal/fakeproxy"
)

type (
	step     = fakeproxy.Step
	dialFunc = fakeproxy.Dialer
)

const patience = fakeproxy.Patience

var (
	soon, serve, play, wantEcho = fakeproxy.Soon, fakeproxy.Serve, fakeproxy.Play, fakeproxy.WantEcho

	greeting = step{Want: []byte{5, 1, 0}, Answer: []byte{5, 0}}
	secretly = step{Want: []byte{5, 2, 0, 2}, Answer: []byte{5, 2}}
	password = step{Want: []byte("\x01\x04anna\x06s3cret"), Answer: []byte{1, 0}}
	connect4 = step{Want: []byte{5, 1, 0, 1, 192, 0, 2, 1, 0, 80}, Answer: []byte{5, 0, 0, 1, 198, 51, 100, 1, 4, 0}}
)
