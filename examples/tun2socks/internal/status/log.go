package status

import (
	"bytes"
	"io"
	"sync"
)

// Log keeps the last lines that were written to it, for the screen. All methods may be
// called at once.
type Log struct {
	mu    sync.Mutex // a leaf
	lines []string
	part  []byte    // of a line that has no end yet
	out   io.Writer // what is written goes there; nil: it is kept
}

const (
	maxLines = 64
	maxLine  = 4 << 10 // bytes; what is longer is cut
)

// Write implements io.Writer.
func (l *Log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out != nil {
		return l.out.Write(b)
	}
	n := len(b)
	for {
		line, rest, ended := bytes.Cut(b, []byte("\n"))
		l.part = append(l.part, line[:min(len(line), max(0, maxLine-len(l.part)))]...)
		if !ended {
			return n, nil
		}
		if len(l.lines) == maxLines {
			l.lines = append(l.lines[:0], l.lines[1:]...)
		}
		l.lines = append(l.lines, string(l.part))
		l.part, b = l.part[:0], rest
	}
}

// last returns the last n lines.
func (l *Log) last(n int) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines[max(0, len(l.lines)-n):]...)
}

// Release writes what is kept to w, and from now on everything else: the screen has gone.
func (l *Log) Release(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		_, _ = io.WriteString(w, line+"\n") // there is nobody left to tell
	}
	l.lines, l.out = nil, w
}
