package l3conn

import "io"

// Funcs makes a Conn of plain functions, which keep to the contract of Read,
// Write and Close. A nil ReadFunc gives io.EOF, a nil WriteFunc swallows every
// packet. (Go does not allow fields and methods of the same name, hence theirs.)
type Funcs struct {
	// ReadFunc is called by Read.
	ReadFunc func(b []byte) (int, error)
	// WriteFunc is called by Write.
	WriteFunc func(p []byte) (int, error)
	// CloseFunc ends a blocked ReadFunc; nil means that the conn cannot be
	// closed, and Probe finds no io.Closer.
	CloseFunc func() error
}

// Read calls ReadFunc.
func (f Funcs) Read(b []byte) (int, error) {
	if f.ReadFunc == nil {
		return 0, io.EOF
	}
	return f.ReadFunc(b)
}

// Write calls WriteFunc.
func (f Funcs) Write(p []byte) (int, error) {
	if f.WriteFunc == nil {
		return len(p), nil
	}
	return f.WriteFunc(p)
}

// Caps implements [Capper]: Funcs has at most a Close.
func (f Funcs) Caps() Caps {
	if f.CloseFunc == nil {
		return Caps{}
	}
	return Caps{Closer: closeFunc(f.CloseFunc)}
}

type closeFunc func() error

func (f closeFunc) Close() error { return f() }
