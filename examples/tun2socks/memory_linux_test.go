package main

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var (
	hoarders   = flag.Int("hoarders", 1200, "TestMemory: connections whose clients do not read")
	hoardLimit = flag.Int("hoardmib", 16, "TestMemory: -memory in MiB; 64 with -hoarders 8000 is what was promised")
)

const hoarded = 1 << 20 // bytes sent to each

// TestMemory sends much to clients that never read, or has clients send much to a server
// that does not. The program stays below its limit, and what the runtime needs beside, by
// resetting those that hold most; who reads goes on; and the memory comes back.
func TestMemory(t *testing.T) {
	t.Run("down", func(t *testing.T) { testMemory(t, false) })
	t.Run("up", func(t *testing.T) { testMemory(t, true) })
}

func testMemory(t *testing.T, up bool) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	manyFiles(t)
	here, there := newNetNS(t), newNetNS(t)
	for _, n := range []netns{here, there} { // the kernel's buffers are not what is tested
		n.sysctl(t, "ipv4/tcp_rmem", "4096 16384 32768")
		n.sysctl(t, "ipv4/tcp_wmem", "4096 16384 32768")
		n.sysctl(t, "ipv4/ip_local_port_range", "1024 65535")
	}
	here.ip(t, "link set lo up", "addr add "+srv4+"/32 dev lo")
	var ln net.Listener
	here.do(t, func() (err error) {
		ln, err = net.Listen("tcp", srv4+":80")
		return err
	})
	pour(t, ln)
	const deaf = 81 // a port where nobody reads: the kernel alone is there
	var silent net.Listener
	here.do(t, func() (err error) {
		silent, err = net.Listen("tcp", fmt.Sprint(srv4, ":", deaf))
		return err
	})
	drown(t, silent)

	limit := *hoardLimit << 20
	program, log := here.program(t, "-device", "tun://t2s0", "-loglevel", "info", "-memory", fmt.Sprint(limit))
	log.await(t, "serving")
	here.ip(t, "link set t2s0 netns "+there.path())
	there.ip(t, "link set lo up", "addr add 198.18.0.1/30 dev t2s0", "addr add 198.18.0.5/30 dev t2s0",
		"link set t2s0 up", "route add default dev t2s0")
	pid := program.Process.Pid
	evicted := make(chan int, 1)
	go func() { evicted <- log.evictions() }() // ends with the program

	before := memoryOf(t, pid, "VmRSS")
	fd := there.connect(t)
	readAll(t, fd) // warm
	idle := there.connectAll(t, 20, 80)
	for _, fd := range idle {
		readAll(t, fd)
	}
	begun := time.Now()
	var full []int
	if up {
		for left := *hoarders; left > 0; left -= 500 { // so that few are there with nothing
			full = append(full, there.connectAll(t, min(left, 500), deaf)...)
			stuff(full)
		}
	} else {
		full = there.connectAll(t, *hoarders, 80)
	}
	took, settled := time.Since(begun), time.Now().Add(patience)
	reset := 0
	for last := -1; time.Now().Before(settled); time.Sleep(time.Second) { // until nothing changes
		if reset = countReset(full); reset == last {
			break
		}
		last = reset
	}
	peak := memoryOf(t, pid, "VmHWM")
	t.Logf("%d connections in %v, %d reset; resident: %d KiB before, %d KiB at most, %d KiB with them",
		len(full), took.Round(time.Millisecond), reset, before>>10, peak>>10, memoryOf(t, pid, "VmRSS")>>10)
	if len(full) < *hoarders*99/100 {
		t.Errorf("only %d of %d connections were made", len(full), *hoarders)
	}
	if most := 2 * max(limit, 32<<20); peak > most {
		t.Errorf("%d KiB were resident, more than %d", peak>>10, most>>10)
	}
	if reset == 0 {
		t.Error("no connection was reset")
	}
	if n := countReset(idle); n > 0 {
		t.Errorf("%d connections that held nothing were reset", n)
	}
	readAll(t, there.connect(t)) // it works still

	for _, fd := range slices.Concat(full, idle, []int{fd}) { // by a RST: else the kernel waits for who does not read
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		_ = unix.Close(fd)
	}
	after, enough := memoryOf(t, pid, "VmRSS"), before+(peak-before)/4
	for end := time.Now().Add(patience); after > enough && time.Now().Before(end); after = memoryOf(t, pid, "VmRSS") {
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("resident in the end: %d KiB", after>>10)
	if after > enough {
		t.Errorf("%d KiB are resident in the end", after>>10)
	}
	if err := program.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	n := <-evicted
	if err := program.Wait(); err != nil {
		t.Error(err)
	}
	if n < reset {
		t.Errorf("the program says that it has reset %d flows of %d", n, reset)
	}
}

// pour sends hoarded bytes to each who connects.
func pour(t *testing.T, ln net.Listener) {
	var serving sync.WaitGroup
	var mu sync.Mutex
	conns := make(map[net.Conn]bool)
	data := bytes.Repeat([]byte("0123456789abcde\n"), hoarded/16)
	serving.Go(func() { // until the listener is closed
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			serving.Go(func() { // until its connection is closed
				_, _ = c.Write(data) // fails when the client is reset
				_, _ = c.Read(make([]byte, 1))
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
}

// drown accepts connections of which nothing is read.
func drown(t *testing.T, ln net.Listener) {
	var accepting sync.WaitGroup
	accepting.Go(func() { // until the listener is closed
		var conns []net.Conn
		for {
			c, err := ln.Accept()
			if err != nil {
				break
			}
			conns = append(conns, c)
		}
		for _, c := range conns {
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		accepting.Wait()
	})
}

// stuff sends on each connection what it takes, until all have taken what they do for a
// moment.
func stuff(fds []int) {
	b := make([]byte, hoarded/16)
	for full := 0; full < 3; time.Sleep(100 * time.Millisecond) {
		full++
		for _, fd := range fds {
			for {
				if n, err := unix.SendmsgN(fd, b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL); n <= 0 || err != nil {
					break
				}
				full = 0
			}
		}
	}
}

// manyFiles lets this process and the program open as many files as they may.
func manyFiles(t *testing.T) {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	l.Cur = l.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	if need := uint64(2**hoarders + 200); l.Cur < need {
		t.Skipf("needs %d open files, may have %d", need, l.Cur)
	}
}

func (n netns) sysctl(t *testing.T, name, value string) {
	t.Helper()
	n.do(t, func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) })
}

// connect opens a connection to the server, of which nothing is read.
func (n netns) connect(t *testing.T) (fd int) {
	t.Helper()
	n.do(t, func() (err error) {
		fd, err = connectTo(srv4, 80)
		return err
	})
	return fd
}

// connectAll opens as many as can be had.
func (n netns) connectAll(t *testing.T, count, port int) (fds []int) {
	t.Helper()
	const threads = 8
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range threads {
		all.Go(func() {
			n.do(t, func() error {
				for range count/threads + min(1, max(0, count%threads-i)) {
					fd, err := connectTo(srv4, port)
					if err != nil {
						continue // counted by its absence
					}
					mu.Lock()
					fds = append(fds, fd)
					mu.Unlock()
				}
				return nil
			})
		})
	}
	all.Wait()
	return fds
}

// connectTo connects within ten seconds.
func connectTo(host string, port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte(net.ParseIP(host).To4())})
	if err == unix.EINPROGRESS || err == unix.EINTR {
		n := 0
		for err = unix.EINTR; err == unix.EINTR; {
			n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 10_000)
		}
		if err == nil && n == 0 {
			err = unix.ETIMEDOUT
		}
	}
	if err == nil {
		var code int
		if code, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); code != 0 {
			err = unix.Errno(code)
		}
	}
	if err = cmp.Or(err, unix.SetNonblock(fd, false)); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// readAll reads what the server sends, and stays connected.
func readAll(t *testing.T, fd int) {
	t.Helper()
	b := make([]byte, hoarded)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		t.Fatal(err)
	}
	for got := 0; got < hoarded; {
		n, err := unix.Read(fd, b)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			t.Fatalf("%d bytes of %d: %d, %v", got, hoarded, n, err)
		}
		got += n
	}
}

// countReset counts the connections that were reset.
func countReset(fds []int) (n int) {
	for _, fd := range fds {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || info.State != 1 { // TCP_ESTABLISHED
			n++
		}
	}
	return n
}

// memoryOf returns a figure of the process' memory in bytes.
func memoryOf(t *testing.T, pid int, name string) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s in the status of process %d", name, pid)
	return 0
}

// evictions reads the log to its end and sums up what was ended for memory.
func (l *logLines) evictions() (sum int) {
	for {
		line, err := l.r.ReadString('\n')
		if rest, ok := strings.CutPrefix(line[strings.Index(line, "memory limit")+1:], "emory limit"); ok {
			if _, flows, ok := strings.Cut(rest, " flows="); ok {
				n, _ := strconv.Atoi(strings.Fields(flows)[0])
				sum += n
			}
		}
		if err != nil {
			return sum
		}
	}
}
