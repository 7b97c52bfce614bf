package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"l3extract/internal/leak"
	"l3extract/l3conn"
	"l3extract/l3conn/l3conntest"
)

func TestMain(m *testing.M) { leak.Main(m) }

// ping is an ICMP echo request from 192.0.2.1 to 192.0.2.2 with all checksums.
var ping = []byte{
	0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1, 0xf6, 0xdc, 192, 0, 2, 1, 192, 0, 2, 2,
	8, 0, 0xf7, 0xfd, 0, 1, 0, 1,
}

// datagram6 is a UDP datagram of 4 bytes from 2001:db8::1 to 2001:db8::2.
var datagram6 = append([]byte{
	0x60, 0, 0, 0, 0, 12, 17, 64,
	0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
	0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
}, 0, 7, 0, 9, 0, 12, 0xdf, 0x8a, 'a', 'b', 'c', 'd')

// record is one record of a file as the test reads it.
type record struct {
	at     time.Time
	size   int
	packet []byte
}

// parse reads a capture without any help of the code under test.
func parse(t *testing.T, b []byte) (snap int, records []record) {
	t.Helper()
	if len(b) < 24 {
		t.Fatalf("file of %d bytes", len(b))
	}
	u := binary.LittleEndian.Uint32
	unit := time.Microsecond
	switch u(b) {
	case 0xa1b23c4d:
		unit = time.Nanosecond
	case 0xa1b2c3d4:
	default:
		t.Fatalf("magic %#x", u(b))
	}
	if u(b[4:]) != 0x40002 || u(b[8:]) != 0 || u(b[12:]) != 0 || u(b[20:]) != 101 {
		t.Fatalf("header % x", b[:24])
	}
	snap = int(u(b[16:]))
	for b = b[24:]; len(b) > 0; {
		kept := int(u(b[8:]))
		records = append(records, record{
			time.Unix(int64(u(b)), 0).Add(time.Duration(u(b[4:])) * unit), int(u(b[12:])), b[16 : 16+kept],
		})
		b = b[16+kept:]
	}
	return snap, records
}

func TestFile(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		snap int
	}{
		{"microseconds", Config{}, DefaultSnapLen},
		{"nanoseconds", Config{Nanoseconds: true}, DefaultSnapLen},
		{"snaplen", Config{SnapLen: 21}, 21},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := l3conn.Pipe(0, 0)
			defer a.Close()
			name := filepath.Join(t.TempDir(), "x.pcap")
			start := time.Now().Truncate(time.Microsecond)
			tee, err := Create(a, name, &c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tee.Write(ping); err != nil {
				t.Fatal(err)
			}
			b.Write(datagram6)
			buf := make([]byte, 100)
			if n, err := tee.Read(buf); n != len(datagram6) || err != nil {
				t.Fatal(n, err)
			}
			for range 2 {
				if err := tee.Stop(); err != nil {
					t.Fatal(err)
				}
			}
			if n, err := tee.Write(ping); n != len(ping) || err != nil {
				t.Fatal("after Stop:", n, err)
			}
			data, _ := os.ReadFile(name)
			snap, records := parse(t, data)
			if snap != c.snap || len(records) != 2 {
				t.Fatal(snap, len(records))
			}
			for i, want := range [][]byte{ping, datagram6} {
				r := records[i]
				if r.size != len(want) || !bytes.Equal(r.packet, want[:min(len(want), snap)]) {
					t.Errorf("record %d: %d % x", i, r.size, r.packet)
				}
				if r.at.Before(start) || r.at.After(time.Now()) {
					t.Errorf("record %d: time %v", i, r.at)
				}
			}
			if s := tee.Stats(); s != (Stats{Packets: 2, Bytes: uint64(len(data))}) {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestTcpdump(t *testing.T) {
	tcpdump, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Skip("tcpdump is not installed:", err)
	}
	for _, ns := range []bool{false, true} {
		a, b := l3conn.Pipe(0, 0)
		name := filepath.Join(t.TempDir(), "x.pcap")
		tee, err := Create(a, name, &Config{Nanoseconds: ns})
		if err != nil {
			t.Fatal(err)
		}
		tee.Write(ping)
		tee.Write(datagram6)
		tee.Stop()
		a.Close()
		b.Close()
		out, err := exec.Command(tcpdump, "-nn", "-v", "-r", name).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{
			"link-type RAW (Raw IP)", "192.0.2.1 > 192.0.2.2: ICMP echo request, id 1, seq 1, length 8",
			"2001:db8::1.7 > 2001:db8::2.9",
		} {
			if !strings.Contains(string(out), want) {
				t.Errorf("tcpdump does not say %q:\n%s", want, out)
			}
		}
		if strings.Contains(string(out), "bad cksum") || strings.Contains(string(out), "wrong") {
			t.Errorf("tcpdump finds a fault:\n%s", out)
		}
	}
}

func TestConformance(t *testing.T) {
	tee := func(t *testing.T, conn l3conn.Conn) *Tee {
		w, err := New(conn, io.Discard, nil)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	t.Run("Plain", func(t *testing.T) {
		l3conntest.Test(t, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
			x, y := l3conn.Pipe(0, 0)
			w := tee(t, x)
			return w, y, func() { x.Close(); y.Close(); w.Stop() }
		})
	})
	t.Run("Segments", func(t *testing.T) {
		l3conntest.Test(t, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
			x, y := l3conn.SegmentPipe(nil)
			w := tee(t, x)
			return w, y, func() { x.Close(); y.Close(); w.Stop() }
		})
	})
	t.Run("BatchTwice", func(t *testing.T) {
		l3conntest.Test(t, func(t *testing.T) (a, b l3conn.Conn, stop func()) {
			x, y := l3conn.BatchPipe(0, 0, 4)
			inner := tee(t, x)
			outer := tee(t, inner)
			return outer, y, func() { l3conn.Probe(outer).Closer.Close(); y.Close() }
		})
	})
}

func TestPrivateFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(name, []byte("old and longer than a header of a capture"), 0o644); err != nil {
		t.Fatal(err)
	}
	a, _ := l3conn.Pipe(0, 0)
	tee, err := Create(a, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := l3conn.Probe(tee).Closer.Close(); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(name)
	if err != nil || st.Size() != fileHeaderSize {
		t.Fatal(st.Size(), err)
	}
	if st.Mode().Perm() != 0o600 && os.PathSeparator == '/' {
		t.Errorf("mode %v", st.Mode())
	}
	if _, err := Create(a, filepath.Join(name, "x"), nil); err == nil {
		t.Error("a file below a file")
	}
}

func TestConfig(t *testing.T) {
	a, _ := l3conn.Pipe(0, 0)
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{SnapLen: -1}, "Config.SnapLen"},
		{Config{SnapLen: 1 << 20}, "Config.SnapLen"},
		{Config{Buffer: 1}, "Config.Buffer"},
	} {
		if _, err := New(a, io.Discard, &c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
		if _, err := Create(a, os.DevNull, &c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.cfg, err)
		}
	}
}

var errDisk = errors.New("disk full")

// disk takes some bytes, then none; gate, if there is one, stops each Write.
type disk struct {
	bytes.Buffer
	room int
	gate chan struct{}
}

func (d *disk) Write(b []byte) (int, error) {
	if d.gate != nil {
		<-d.gate
	}
	n := min(len(b), d.room)
	d.room -= n
	d.Buffer.Write(b[:n])
	if n < len(b) {
		return n, errDisk
	}
	return n, nil
}

func TestFileFails(t *testing.T) {
	a, b := l3conn.Pipe(0, 0)
	told := make(chan error, 2)
	w := &disk{room: fileHeaderSize + 2*(recordHeaderSize+len(ping)) + 5}
	tee, err := New(a, w, &Config{OnError: func(err error) { told <- err }})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	for i := range 6 {
		if i == 3 {
			if err := <-told; !errors.Is(err, errDisk) {
				t.Fatal(err)
			}
		}
		if n, err := tee.Write(ping); n != len(ping) || err != nil {
			t.Fatal(n, err)
		}
		if n, err := b.Read(buf); n != len(ping) || err != nil {
			t.Fatal("traffic stopped with the capture:", n, err)
		}
	}
	for range 2 {
		if err := tee.Stop(); !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
	}
	want := Stats{Packets: 2, Bytes: uint64(w.Len() - 5), Lost: 4, Errors: 1}
	if s := tee.Stats(); s != want || len(told) != 0 {
		t.Errorf("%+v, want %+v; told %d times more", s, want, len(told))
	}
}

// TestFileCut: after an error the file ends with its last whole record.
func TestFileCut(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "x.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	f.Write(make([]byte, 500)) // what an unlucky write left
	cfg, _ := (*Config)(nil).withDefaults()
	room := fileHeaderSize + recordHeaderSize + len(ping) + 3
	r := newRecorder(&disk{room: room}, f, cfg)
	r.record(ping)
	r.record(ping)
	if err := r.stop(); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if st, _ := os.Stat(f.Name()); st.Size() != int64(room-3) {
		t.Errorf("%d bytes, want %d", st.Size(), room-3)
	}
}

func TestWholeRecords(t *testing.T) {
	cfg, _ := (*Config)(nil).withDefaults()
	r := &recorder{cfg: cfg, now: time.Now, wake: make(chan struct{}, 1)}
	r.record(ping)
	r.record(datagram6)
	one, two := recordHeaderSize+len(ping), 2*recordHeaderSize+len(ping)+len(datagram6)
	with := append(r.appendFileHeader(nil), r.pending...)
	for _, c := range []struct {
		chunk   []byte
		n       int
		records uint64
		bytes   int
	}{
		{r.pending, 0, 0, 0}, {r.pending, one - 1, 0, 0}, {r.pending, one, 1, one},
		{r.pending, one + 15, 1, one}, {r.pending, two - 1, 1, one}, {r.pending, two, 2, two},
		{with, 23, 0, 0}, {with, 24, 0, 24}, {with, 24 + two, 2, 24 + two},
	} {
		records, n := wholeRecords(c.chunk, len(c.chunk) == len(with), c.n)
		if records != c.records || n != c.bytes {
			t.Errorf("first %d bytes: %d records, %d bytes", c.n, records, n)
		}
	}
}

// TestSlowFile: a file that stands still costs records, not traffic.
func TestSlowFile(t *testing.T) {
	w := &disk{room: 1 << 30, gate: make(chan struct{})}
	const sent = 3000
	tee, err := New(l3conn.Funcs{}, w, &Config{Buffer: minBuffer})
	if err != nil {
		t.Fatal(err)
	}
	p := append(append([]byte(nil), ping...), make([]byte, 1000)...)
	for range sent {
		if n, err := tee.Write(p); n != len(p) || err != nil {
			t.Fatal(n, err)
		}
	}
	close(w.gate)
	if err := tee.Stop(); err != nil {
		t.Fatal(err)
	}
	s := tee.Stats()
	_, records := parse(t, w.Bytes())
	if s.Packets+s.Overflow != sent || s.Overflow == 0 || int(s.Packets) != len(records) {
		t.Errorf("%+v of %d, %d in the file", s, sent, len(records))
	}
	if w.Len() > 2*minBuffer {
		t.Errorf("%d bytes were kept, the bound is %d twice", w.Len(), minBuffer)
	}
}
