// Package hooks runs the commands that a user has asked for before and after the interface
// is opened, as -tun-pre-up and -tun-post-up of tun2socks do: a command is split into words
// as by a shell, but run without one.
package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/google/shlex"
)

// Timeout bounds how long a command may take.
const Timeout = time.Minute

// maxOutput is how much of what a command prints is kept, in bytes.
const maxOutput = 4 << 10

// Run runs a command to its end, with the variables in env beside the program's own. An
// empty command is done at once. The error names the command and the last line that it has
// printed.
func Run(ctx context.Context, name, command string, env map[string]string) error {
	words, err := shlex.Split(command)
	if err != nil {
		return fmt.Errorf("%s %q: %w", name, command, err)
	}
	if len(words) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = os.Environ()
	for key, value := range env {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	out := new(tail)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second // for what it has started, and left
	switch err := cmd.Run(); {
	case ctx.Err() != nil && err != nil:
		return fmt.Errorf("%s %q: %w", name, words[0], context.Cause(ctx))
	case errors.Is(err, exec.ErrWaitDelay): // it has ended well, and left something behind
		return nil
	case err != nil:
		if last := out.lastLine(); last != "" {
			return fmt.Errorf("%s %q: %w: %s", name, words[0], err, last)
		}
		return fmt.Errorf("%s %q: %w", name, words[0], err)
	}
	return nil
}

// tail keeps the end of what is written.
type tail struct{ b bytes.Buffer }

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > maxOutput {
		p = p[len(p)-maxOutput:]
	}
	if over := t.b.Len() + len(p) - maxOutput; over > 0 {
		t.b.Next(over)
	}
	t.b.Write(p)
	return n, nil
}

func (t *tail) lastLine() string {
	text := strings.TrimSpace(t.b.String())
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}
