package l3conntest

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"l3extract/l3conn"
)

// broken is a pipe end with one fault.
type broken struct {
	*l3conn.PipeEnd
	fault string
	held  []byte
}

func (b *broken) Write(p []byte) (int, error) {
	switch b.fault {
	case "keeps written buffers": // sends each one packet later
		if b.held != nil {
			b.PipeEnd.Write(b.held)
		}
		if b.held = p; len(p) == 100 && p[4] == 0 && p[5] == InFlight-1 {
			b.PipeEnd.Write(p)
		}
		return len(p), nil
	case "changes written buffers":
		n, err := b.PipeEnd.Write(p)
		//lint:ignore SA1023 this is the fault that the suite must find
		p[len(p)-1]++
		return n, err
	case "reorders":
		if b.held == nil {
			b.held = append([]byte(nil), p...)
			return len(p), nil
		}
		n, err := b.PipeEnd.Write(p)
		b.PipeEnd.Write(b.held)
		b.held = nil
		return n, err
	case "takes a part":
		b.PipeEnd.Write(p)
		return len(p) - 1, nil
	case "refuses long packets by another error":
		if len(p) > b.MTU() {
			return 0, io.ErrClosedPipe
		}
	}
	return b.PipeEnd.Write(p)
}

func (b *broken) Read(p []byte) (int, error) {
	switch b.fault {
	case "gives a part":
		var all [2000]byte
		n, err := b.PipeEnd.Read(all[:])
		return copy(p, all[:n]), err
	case "cuts":
		n, err := b.PipeEnd.Read(p)
		return min(n, 1400), err
	}
	n, err := b.PipeEnd.Read(p)
	switch {
	case err == nil:
	case b.fault == "EOF after Close" && !errors.Is(err, os.ErrDeadlineExceeded):
		return n, io.EOF
	case b.fault == "no timeout" && errors.Is(err, os.ErrDeadlineExceeded):
		return n, io.ErrNoProgress
	}
	return n, err
}

func (b *broken) MTU() int {
	if b.fault == "no MTU" {
		return -1
	}
	return b.PipeEnd.MTU()
}

// brokenSegments is an end of a SegmentPipe with one fault.
type brokenSegments struct {
	*l3conn.SegmentPipeEnd
	fault string
}

func (b *brokenSegments) Caps() l3conn.Caps {
	c := b.SegmentPipeEnd.Caps()
	c.Offloader = b
	return c
}

func (b *brokenSegments) EnableOffload(f l3conn.Features) error {
	if b.fault == "enables anything" {
		return b.SegmentPipeEnd.EnableOffload(f & l3conn.OffloadAll)
	}
	return b.SegmentPipeEnd.EnableOffload(f)
}

func (b *brokenSegments) ReadSegments(segs []l3conn.Segment) (int, error) {
	if b.fault == "leaves old fields" && len(segs) > 0 {
		kind := segs[0].Kind
		n, err := b.SegmentPipeEnd.ReadSegments(segs)
		segs[0].Kind = kind
		return n, err
	}
	return b.SegmentPipeEnd.ReadSegments(segs)
}

func (b *brokenSegments) WriteSegments(segs []l3conn.Segment) (int, error) {
	if b.fault == "writes any kind" {
		for i := range segs {
			segs[i].Kind = l3conn.SegmentNone
		}
	}
	return b.SegmentPipeEnd.WriteSegments(segs)
}

// TestFindsFaults runs the suite on broken conns, each in a process of its own
// because a failed subtest cannot be taken back.
func TestFindsFaults(t *testing.T) {
	if fault := os.Getenv("L3CONNTEST_FAULT"); fault != "" {
		Test(t, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
			x, y := l3conn.Pipe(0, 0)
			if os.Getenv("L3CONNTEST_SEGMENTS") != "" {
				x, y := l3conn.SegmentPipe(nil)
				return &brokenSegments{x, fault}, y, func() { x.Close(); y.Close() }
			}
			f := &broken{PipeEnd: x, fault: fault}
			return f, y, func() { f.Close(); y.Close() }
		})
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Skip("cannot find this test binary:", err)
	}
	for _, c := range []struct{ fault, subtest string }{
		{"keeps written buffers", "Buffers"},
		{"changes written buffers", "Buffers"},
		{"reorders", "Order"},
		{"takes a part", "Whole"},
		{"refuses long packets by another error", "TooLong"},
		{"gives a part", "ShortBuffer"},
		{"cuts", "Whole"},
		{"EOF after Close", "Close"},
		{"no timeout", "ReadDeadline"},
		{"no MTU", "MTU"},
		{"enables anything", "SegmentRead"},
		{"leaves old fields", "SegmentWhole"},
		{"writes any kind", "SegmentWrite"},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(self, "-test.run=^TestFindsFaults$/^"+c.subtest+"$", "-test.v")
			cmd.Env = append(os.Environ(), "L3CONNTEST_FAULT="+c.fault)
			if strings.HasPrefix(c.subtest, "Segment") {
				cmd.Env = append(cmd.Env, "L3CONNTEST_SEGMENTS=1")
			}
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestFindsFaults/"+c.subtest) {
				t.Fatalf("the suite found nothing: %v\n%s", err, out)
			}
			if strings.Contains(string(out), "panic:") {
				t.Fatalf("the suite broke:\n%s", out)
			}
		})
	}
}
