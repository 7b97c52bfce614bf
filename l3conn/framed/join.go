package framed

import (
	"errors"
	"io"
	"os"
	"time"

	"l3extract/l3conn"
)

// Join makes one stream of two halves, such as stdout and stdin of a child process
// or of this one. Its Close closes both; it has the deadlines that the halves have.
func Join(r io.ReadCloser, w io.WriteCloser) io.ReadWriteCloser { return &joined{r, w} }

type joined struct {
	r io.ReadCloser
	w io.WriteCloser
}

func (j *joined) Read(b []byte) (int, error)  { return j.r.Read(b) }
func (j *joined) Write(b []byte) (int, error) { return j.w.Write(b) }

// Close ends the writing half first: a child that reads its end may still have
// something to say, and ours is over in any case.
func (j *joined) Close() error { return errors.Join(j.w.Close(), j.r.Close()) }

// SetReadDeadline implements l3conn.ReadDeadliner.
func (j *joined) SetReadDeadline(t time.Time) error {
	if d, ok := j.r.(l3conn.ReadDeadliner); ok {
		return d.SetReadDeadline(t)
	}
	return os.ErrNoDeadline
}

// SetWriteDeadline implements l3conn.WriteDeadliner.
func (j *joined) SetWriteDeadline(t time.Time) error {
	if d, ok := j.w.(l3conn.WriteDeadliner); ok {
		return d.SetWriteDeadline(t)
	}
	return os.ErrNoDeadline
}
