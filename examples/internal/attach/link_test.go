package attach

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"strings"
	"testing"

	"l3extract/internal/leak"
	"l3extract/stack"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestHelp(t *testing.T) {
	var out bytes.Buffer
	if _, err := Open([]string{"-help"}, &out); !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "-tun NAME") {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestErrorIsOneLine(t *testing.T) {
	var out bytes.Buffer
	if _, err := Open([]string{"-nonsense"}, &out); err == nil || strings.Contains(err.Error(), "\n") || out.Len() > 0 {
		t.Errorf("%v\n%s", err, &out)
	}
}

// TestRunEnds runs demos whose client, server or context ends them: Run says so,
// and nothing is left.
func TestRunEnds(t *testing.T) {
	broken := errors.New("broken")
	fine := func(context.Context, *stack.Stack) error { return nil }
	wait := func(ctx context.Context, _ *stack.Stack) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	for _, tc := range []struct {
		name      string
		serve     error
		client    func(context.Context, *stack.Stack) error
		interrupt bool
		want      error
	}{
		{"all is well", nil, fine, false, nil},
		{"client fails", nil, func(context.Context, *stack.Stack) error { return broken }, false, broken},
		{"server fails", broken, wait, false, broken},
		{"interrupted", nil, wait, true, context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			link, err := Open(nil, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			s, err := stack.New(link.Conn, nil)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tc.interrupt {
				cancel()
			}
			serve := func() error {
				if tc.serve == nil {
					<-s.Done()
				}
				return tc.serve
			}
			if err := link.Run(ctx, s, serve, tc.client); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			if err := link.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
