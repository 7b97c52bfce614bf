package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"time"
)

// pattern is what is moved, over and over; twice, so that a chunk of it may begin
// anywhere. Its length is prime, so that no lost packet goes unnoticed.
var pattern = func() []byte {
	const size = 1_000_003
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return append(b, b...)
}()

func patternAt(offset int64) []byte { return pattern[offset%int64(len(pattern)/2):] }

// produce writes the pattern for so long.
func produce(w io.Writer, d time.Duration) (int64, error) {
	var sent int64
	for end := time.Now().Add(d); time.Now().Before(end); {
		n, err := w.Write(patternAt(sent)[:chunk])
		sent += int64(n)
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// check reads the pattern to the end, and tells how much there was and whether
// every byte was right.
func check(r io.Reader) (int64, bool) {
	buf := make([]byte, chunk)
	for got := int64(0); ; {
		n, err := r.Read(buf)
		if !bytes.Equal(buf[:n], patternAt(got)[:n]) {
			return got, false
		}
		got += int64(n)
		if err != nil {
			return got, err == io.EOF
		}
	}
}
