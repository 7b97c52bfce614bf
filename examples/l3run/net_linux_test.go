package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCurlBody(t *testing.T) {
	need(t, "curl")
	want := sumOf(t, body(*bodySize))
	as(t, func(t *testing.T, c *caller) {
		w := newWorld(t)
		w.serveBody(t, *bodySize)
		for _, host := range []string{srv4, srv6} {
			h := sha256.New()
			cmd := c.l3run(t, "--", "curl", "-sS", "-g", "http://"+net.JoinHostPort(host, "80")+"/")
			cmd.Stdout = h
			r := w.outside.run(t, cmd)
			if got := fmt.Sprintf("%x", h.Sum(nil)); r.code != 0 || got != want {
				t.Errorf("%s: exit %d, SHA-256 %s, want 0, %s\n%s", host, r.code, got, want, r.errout)
			}
		}
	})
}

func TestNamesAndDig(t *testing.T) {
	need(t, "curl", "dig", "getent")
	as(t, func(t *testing.T, c *caller) {
		w := newWorld(t)
		w.serveBody(t, 10)
		asked := w.serveDNS(t)
		for _, tc := range []struct{ command, want string }{
			{"dig +short www.test", srv4 + "\n"},
			{"dig +short AAAA www.test", srv6 + "\n"},
			{"dig +tcp +short www.test", srv4 + "\n"},
			{"dig +short big.test", srv4 + "\n"},                        // truncated over UDP: asks again over TCP
			{"getent ahostsv4 www | cut -d' ' -f1 | uniq", srv4 + "\n"}, // by the search list
			{"curl -sS -o /dev/null -w %{http_code} http://www.test/", "200"},
			{"dig nothing.test | grep -o NXDOMAIN", "NXDOMAIN\n"},
		} {
			r := w.outside.run(t, c.l3run(t, "--", "sh", "-c", tc.command))
			if r.out != tc.want {
				t.Errorf("%s: got %q, want %q\n%s", tc.command, r.out, tc.want, r.errout)
			}
		}
		if names := asked(); !slices.Contains(names, "www.test.") {
			t.Errorf("the host's resolver was asked for %q", names)
		}
	})
}

func TestServersThatNobodyReaches(t *testing.T) {
	need(t, "dig")
	w := newWorld(t)
	c := newCaller(t, 0)
	// Nobody listens on the port: the answer is a failure, and no time-out.
	r := w.outside.run(t, c.l3run(t, "-dns", srv4+":5353", "--", "dig", "+tries=1", "+time=30", "www.test"))
	if !strings.Contains(r.out, "SERVFAIL") {
		t.Errorf("got %s%s, want SERVFAIL", r.out, r.errout)
	}
}

// How connections fail: each as it would without l3run.
func TestRefusedAndUnreachable(t *testing.T) {
	need(t, "curl")
	w := newWorld(t)
	const (
		couldNotConnect = 7
		timedOut        = 28
	)
	as(t, func(t *testing.T, c *caller) {
		for _, tc := range []struct {
			host    string
			timeout string
			code    int
			says    string
		}{
			{srv4, "60", couldNotConnect, "refused"},
			{srv6, "60", couldNotConnect, "refused"},
			{away4, "60", couldNotConnect, "No route to host"},
			{away6, "60", couldNotConnect, "No route to host"},
			{unknown4, "60", couldNotConnect, "Network is unreachable|No route to host"},
			{unknown6, "60", couldNotConnect, "Network is unreachable|No route to host"},
			{hole4, "1", timedOut, "(?i)timed? ?out|timeout"},
			{hole6, "1", timedOut, "(?i)timed? ?out|timeout"},
			{"127.0.0.1", "60", couldNotConnect, "refused"}, // the command's own loopback
		} {
			cmd := c.l3run(t, "--", "curl", "-sS", "-v", "-g", "--connect-timeout", tc.timeout,
				"http://"+net.JoinHostPort(tc.host, "81")+"/")
			r := w.outside.run(t, cmd)
			if says := regexp.MustCompile(tc.says); r.code != tc.code || !says.MatchString(r.errout) {
				t.Errorf("%s: exit %d, want %d and %q\n%s", tc.host, r.code, tc.code, tc.says, r.errout)
			}
		}
	})
}

func TestHalfClose(t *testing.T) {
	need(t, "nc")
	const size = 5 << 20
	want := sumOf(t, body(size)) + "\n"
	as(t, func(t *testing.T, c *caller) {
		w := newWorld(t)
		for _, host := range []string{srv4, srv6} {
			w.serveSum(t, net.JoinHostPort(host, "9000"))
			cmd := c.l3run(t, "--", "nc", "-N", host, "9000")
			cmd.Stdin = body(size)
			if r := w.outside.run(t, cmd); r.code != 0 || r.out != want {
				t.Errorf("%s: exit %d, got %q, want %q\n%s", host, r.code, r.out, want, r.errout)
			}
		}
	})
}

// What a command wrote before it ended arrives, as it would from the host, also
// where the server takes it slowly and only later.
func TestLastBytes(t *testing.T) {
	need(t, "bash")
	const size = 1 << 20
	as(t, func(t *testing.T, c *caller) {
		w := newWorld(t)
		ln := w.servers.listen(t, net.JoinHostPort(srv4, "9001"))
		raw, err := ln.(*net.TCPListener).SyscallConn()
		if err == nil {
			err = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) })
		}
		if err != nil {
			t.Fatal(err)
		}
		out, in, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		sum := make(chan string)
		go func() { // awaited below
			c, err := ln.Accept()
			if err != nil {
				sum <- err.Error()
				return
			}
			defer c.Close()
			_, _ = bufio.NewReader(out).ReadString('\n') // the command is done
			h := sha256.New()
			_, err = io.Copy(h, c)
			sum <- fmt.Sprintf("%x %v", h.Sum(nil), err)
		}()
		cmd := c.l3run(t, "--", "bash", "-c", "exec 3>/dev/tcp/"+srv4+"/9001; cat >&3; echo done")
		cmd.Stdin, cmd.Stdout = body(size), in
		r := w.outside.run(t, cmd)
		in.Close()
		if got, want := <-sum, sumOf(t, body(size))+" <nil>"; r.code != 0 || got != want {
			t.Errorf("exit %d, the server got %s, want %s\n%s", r.code, got, want, r.errout)
		}
	})
}

func TestLog(t *testing.T) {
	need(t, "curl")
	w := newWorld(t)
	w.serveBody(t, 100_000)
	c := newCaller(t, 0)
	w.serveDNS(t)
	r := w.outside.run(t, c.l3run(t, "-v", "--", "curl", "-s", "-o", "/dev/null", "http://www.test/", "http://"+srv4+":81/"))
	for _, want := range []string{
		`(?m)^l3run: dns www\.test A  10\.77\.0\.2$`,
		`(?m)^l3run: dns www\.test AAAA  fd77::2$`,
		`(?m)^l3run: tcp \S+:\d+ -> (10\.77\.0\.2|\[fd77::2\]):80  sent \d+ received 100\d\d\d  [\d.]+m?s  closed$`,
		`(?m)^l3run: tcp 198\.18\.37\.1:\d+ -> 10\.77\.0\.2:81  sent 0 received 0  [\d.]+.?s  dial failed$`,
	} {
		if !regexp.MustCompile(want).MatchString(r.errout) {
			t.Errorf("no line matches %s in\n%s", want, r.errout)
		}
	}
}

func TestGit(t *testing.T) {
	need(t, "git")
	as(t, func(t *testing.T, c *caller) {
		w := newWorld(t)
		repo := c.Home + "/served/project"
		script := "git init -q " + repo + " && cd " + repo + " && head -c 3000000 /dev/urandom >file && git add file && " +
			"git -c user.name=T -c user.email=t@example.com commit -q -m one && git rev-parse HEAD"
		setup := c.command(t, "sh", "-c", script)
		made := w.outside.run(t, setup)
		if made.code != 0 {
			t.Fatal(made)
		}
		w.servers.serve(t, c.command(t, "sh", "-c", `exec "$(git --exec-path)/git-daemon" "$@"`, "sh", "--reuseaddr", "--export-all", "--base-path="+c.Home+"/served",
			"--listen="+srv4, "--listen="+srv6, "--port=9418"))
		for _, host := range []string{srv4, "[" + srv6 + "]"} {
			w.servers.waitPort(t, host+":9418")
			r := w.outside.run(t, c.l3run(t, "--", "sh", "-c",
				"rm -rf clone && git clone -q git://"+host+"/project clone && git -C clone fsck && git -C clone rev-parse HEAD"))
			if r.code != 0 || r.out != made.out {
				t.Errorf("%s: exit %d, HEAD %q, want %q\n%s", host, r.code, r.out, made.out, r.errout)
			}
		}
	})
}

func TestSSH(t *testing.T) {
	need(t, "ssh", "ssh-keygen")
	const sshd = "/usr/sbin/sshd" // insists on its full path
	need(t, sshd)
	as(t, func(t *testing.T, c *caller) {
		w := newWorld(t)
		dir := c.Home
		r := w.outside.run(t, c.command(t, "sh", "-c", "ssh-keygen -q -t ed25519 -N '' -f host && ssh-keygen -q -t ed25519 -N '' -f key"))
		if r.code != 0 {
			t.Fatal(r)
		}
		// An unprivileged sshd lets in its own user, which is who asks.
		server := *c
		server.Clean, server.Dirs = true, nil
		args := []string{"-D", "-e", "-f", "/dev/null"}
		for _, o := range []string{"Port 2222", "ListenAddress " + srv4, "ListenAddress " + srv6, "HostKey " + dir + "/host",
			"AuthorizedKeysFile " + dir + "/key.pub", "StrictModes no", "PidFile none", "UsePAM no",
			"PasswordAuthentication no", "PermitRootLogin prohibit-password"} {
			args = append(args, "-o", o)
		}
		cmd := server.command(t, "sh", append([]string{"-c", `if [ $(id -u) = 0 ]; then mkdir -p /run/sshd; fi; exec "$0" "$@"`, sshd}, args...)...)
		log := new(strings.Builder)
		cmd.Stderr = log
		w.servers.serve(t, cmd)
		user := map[bool]string{true: "root", false: "l3run-test"}[c.UID == 0]
		for _, host := range []string{srv4, srv6} {
			w.servers.waitPort(t, net.JoinHostPort(host, "2222"))
			r := w.outside.run(t, c.l3run(t, "--", "ssh", "-F", "none", "-i", "key", "-p", "2222", "-o", "BatchMode=yes",
				"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
				user+"@"+host, "echo got here; exit 3"))
			if r.code != 3 || r.out != "got here\n" {
				t.Errorf("%s: exit %d, output %q, want 3, \"got here\"\n%s", host, r.code, r.out, r.errout)
			}
		}
	})
}
