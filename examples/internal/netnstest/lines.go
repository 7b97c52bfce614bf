package netnstest

import (
	"bufio"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// Lines is what a program writes to its standard error.
type Lines struct {
	mu   sync.Mutex
	all  strings.Builder
	news chan struct{} // cap 1
	end  chan struct{} // closed when there will be no more
}

// Follow reads r to its end.
func Follow(r io.Reader) *Lines {
	l := &Lines{news: make(chan struct{}, 1), end: make(chan struct{})}
	go func() { // ends with the program
		defer close(l.end)
		for s := bufio.NewScanner(r); s.Scan(); {
			l.mu.Lock()
			l.all.WriteString(s.Text() + "\n")
			l.mu.Unlock()
			select {
			case l.news <- struct{}{}:
			default:
			}
		}
	}()
	return l
}

// String returns all lines so far.
func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// Ended is closed when there will be no more.
func (l *Lines) Ended() <-chan struct{} { return l.end }

// Await waits until some line holds all of these, and returns it.
func (l *Lines) Await(t *testing.T, texts ...string) string {
	t.Helper()
	late := time.After(30 * time.Second)
	for ended := false; ; {
	lines:
		for line := range strings.Lines(l.String()) {
			for _, text := range texts {
				if !strings.Contains(line, text) {
					continue lines
				}
			}
			return line
		}
		if ended {
			t.Fatalf("the log ends without %q:\n%s", texts, l)
		}
		select {
		case <-l.news:
		case <-l.end:
			ended = true
		case <-late:
			t.Fatalf("no %q in the log:\n%s", texts, l)
		}
	}
}
