package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// The world of these tests is longer: outside — router — far, with far's network
// behind a link of a smaller MTU.
const (
	router4, router6 = "10.81.0.1", "fd81::1" // towards outside
	far4, far6       = "10.82.0.2", "fd82::2"
	silent4, silent6 = "10.82.0.9", "fd82::9" // nobody has it: the router says so
	hidden4, hidden6 = "10.83.0.1", "fd83::1" // far swallows it
	banned4, banned6 = "10.84.0.1", "fd84::1" // the router prohibits it
	gone4, gone6     = "10.85.0.1", "fd85::1" // the router has no way there
	narrow           = 1400                   // MTU of the far link
	ownHop4, ownHop6 = "198.18.37.2", "fd6c:3372:756e::2"
)

// newPath makes the namespaces of such a world and returns the one that l3run runs in.
func newPath(t *testing.T) netns {
	t.Helper()
	needRoot(t)
	outside, router, far := newNetNS(t), newNetNS(t), newNetNS(t)
	outside.ip(t, "link add veth0 type veth peer name veth0 netns "+router.path())
	router.ip(t, "link add veth1 type veth peer name veth0 netns "+far.path())
	outside.ip(t, `link set lo up
		addr add 10.81.0.2/24 dev veth0
		addr add fd81::2/64 dev veth0 nodad
		link set veth0 up
		route add default via `+router4+`
		route add default via `+router6)
	router.ip(t, fmt.Sprintf(`link set lo up
		addr add %s/24 dev veth0
		addr add %s/64 dev veth0 nodad
		addr add 10.82.0.1/24 dev veth1
		addr add fd82::1/64 dev veth1 nodad
		link set veth0 up
		link set veth1 mtu %d up
		route add 10.83.0.0/24 via %s
		route add fd83::/64 via %s
		route add prohibit 10.84.0.0/24
		route add prohibit fd84::/64`, router4, router6, narrow, far4, far6))
	far.ip(t, fmt.Sprintf(`link set lo up
		addr add %s/24 dev veth0
		addr add %s/64 dev veth0 nodad
		link set veth0 mtu %d up
		route add 10.81.0.0/24 via 10.82.0.1
		route add fd81::/64 via fd82::1
		route add blackhole 10.83.0.0/24
		route add blackhole fd83::/64`, far4, far6, narrow))
	settings := map[string]string{
		"/proc/sys/net/ipv4/ip_forward":          "1",
		"/proc/sys/net/ipv6/conf/all/forwarding": "1",
		// No error is one too many here.
		"/proc/sys/net/ipv4/icmp_ratemask":  "0",
		"/proc/sys/net/ipv6/icmp/ratelimit": "0",
		// Who is not there is given up soon.
		"/proc/sys/net/ipv4/neigh/veth1/retrans_time_ms": "200",
		"/proc/sys/net/ipv6/neigh/veth1/retrans_time_ms": "200",
	}
	for _, n := range []netns{router, far} {
		n.do(t, func() error {
			for name, value := range settings {
				err := os.WriteFile(name, []byte(value), 0)
				if err != nil && !(errors.Is(err, fs.ErrNotExist) && strings.Contains(name, "veth1")) {
					return err
				}
			}
			return nil
		})
	}
	// A link that has just come up loses packets for a while.
	for _, host := range []string{far4, far6} {
		waitFor(t, "the path to "+host, func() bool {
			r := outside.run(t, exec.Command("ping", "-n", "-c", "1", "-W", "1", host))
			return r.code == 0
		})
	}
	return outside
}

// pingGroups sets who may open ping sockets in a namespace.
func pingGroups(t *testing.T, n netns, groups string) {
	t.Helper()
	n.do(t, func() error {
		return os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte(groups), 0)
	})
}

var (
	hopLine = regexp.MustCompile(`(?m)^ *\d+ +(?:\* )*(\S+)(.*)$`)
	hopMark = regexp.MustCompile(`![A-Z]`)
)

// hops are the addresses in traceroute's output, in order, one for each line: of three
// probes the first that was answered. Of those sent by a ping socket traceroute itself
// loses one now and then, for which it takes an error that is still pending on its
// socket.
func hops(out string) (all []string) {
	for _, m := range hopLine.FindAllStringSubmatch(out, -1) {
		hop := m[1]
		if mark := hopMark.FindString(m[2]); mark != "" {
			hop += " " + mark
		}
		all = append(all, hop)
	}
	return all
}

// TestPing: ping and ping -6 through l3run, with a ping socket as anybody and with a
// raw one as root: hosts that live answer with the TTL that they have, hosts that do
// not do not, and routers on the way say what they know.
func TestPing(t *testing.T) {
	need(t, "ping")
	for _, how := range []struct {
		name   string
		uid    int
		groups string
	}{
		{"root, raw socket", 0, "1 0"},
		{"root, ping socket", 0, "0 2147483647"},
		{"user, ping socket", stranger, "0 2147483647"},
	} {
		t.Run(how.name, func(t *testing.T) {
			c := newCaller(t, how.uid)
			if how.uid != 0 {
				needUserNS(t, c)
			}
			outside := newPath(t)
			pingGroups(t, outside, how.groups)
			for _, tc := range []struct {
				args string
				code int
				says string
			}{
				// Two hops on the way back, and the stack.
				{"-c 2 -i 0.2 " + far4, 0, `from 10\.82\.0\.2: icmp_seq=2 ttl=62 `},
				{"-c 2 -i 0.2 " + far6, 0, `from fd82::2: icmp_seq=2 ttl=62 `},
				{"-c 1 -s 3000 " + far4, 0, `3008 bytes from 10\.82\.0\.2`},
				{"-c 2 -i 0.2 -s 3000 " + far6, 0, `(?s)From fd81::1 icmp_seq=1 Packet too big: mtu=1400.*3008 bytes from fd82::2: icmp_seq=2`},
				{"-c 1 -W 9 " + silent4, 1, `From 10\.81\.0\.1 icmp_seq=1 Destination Host Unreachable`},
				{"-c 1 -W 9 " + silent6, 1, `From fd81::1 icmp_seq=1 Destination unreachable: Address unreachable`},
				{"-c 1 -W 9 " + banned4, 1, `From 10\.81\.0\.1 icmp_seq=1 Packet filtered`},
				{"-c 1 -W 9 " + banned6, 1, `From fd81::1 icmp_seq=1 Destination unreachable: Administratively prohibited`},
				{"-c 1 -W 9 " + gone4, 1, `From 10\.81\.0\.1 icmp_seq=1 Destination Net Unreachable`},
				{"-c 1 -W 9 " + gone6, 1, `From fd81::1 icmp_seq=1 Destination unreachable: No route`},
				{"-c 1 -W 9 -t 2 " + far4, 1, `From 10\.81\.0\.1 icmp_seq=1 Time to live exceeded`},
				{"-c 1 -W 9 -t 2 " + far6, 1, `From fd81::1 icmp_seq=1 Time exceeded: Hop limit`},
				{"-c 1 -W 9 -t 1 " + far4, 1, `From 198\.18\.37\.2 icmp_seq=1 Time to live exceeded`},
				{"-c 1 -W 9 -t 1 " + far6, 1, `From fd6c:3372:756e::2 icmp_seq=1 Time exceeded: Hop limit`},
				{"-c 1 -W 9 127.0.0.1", 0, `from 127\.0\.0\.1`}, // the command's own
				{"-c 1 -W 9 169.254.169.254", 1, `From 198\.18\.37\.2 icmp_seq=1 Packet filtered`},
				// Nobody answers, and nobody else does in its place.
				{"-c 2 -i 0.2 -W 1 " + hidden4, 1, `2 packets transmitted, 0 received, 100% packet loss`},
				{"-c 2 -i 0.2 -W 1 " + hidden6, 1, `2 packets transmitted, 0 received, 100% packet loss`},
			} {
				r := outside.run(t, c.l3run(t, append([]string{"--", "ping", "-n"}, strings.Fields(tc.args)...)...))
				if r.code != tc.code || !regexp.MustCompile(tc.says).MatchString(r.out) || r.errout != "" {
					t.Errorf("ping %s: exit %d, want %d and %s\n%s%s", tc.args, r.code, tc.code, tc.says, r.out, r.errout)
				}
				if tc.code != 0 && strings.Contains(r.out, "bytes from") {
					t.Errorf("ping %s: a pong that nobody sent\n%s", tc.args, r.out)
				}
			}
		})
	}
}

// TestPingNotPermitted: who may not open either kind of socket is told once, and gets
// no pong; what needs no permission works.
func TestPingNotPermitted(t *testing.T) {
	need(t, "ping", "traceroute")
	c := newCaller(t, stranger)
	needUserNS(t, c)
	outside := newPath(t)
	pingGroups(t, outside, "1 0")
	r := outside.run(t, c.l3run(t, "--", "sh", "-c",
		"ping -n -c 3 -i 0.2 -W 1 "+far4+"; ping -n -c 2 -i 0.2 -W 1 "+far6+"; ping -n -c 1 "+ownHop4+"; ping -n -c 1 "+ownHop6))
	said := lines(r.errout)
	if len(said) != 1 || !regexp.MustCompile(`^l3run: pings to other hosts are not answered: .*ping_group_range`).MatchString(said[0]) {
		t.Errorf("said %q, want one line", said)
	}
	if n := strings.Count(r.out, "100% packet loss"); n != 2 || r.code != 0 {
		t.Errorf("exit %d, the last ping's; %d lost:\n%s", r.code, n, r.out)
	}
	for _, own := range []string{ownHop4, ownHop6} {
		if !strings.Contains(r.out, "bytes from "+own) {
			t.Errorf("no answer of the stack's own %s:\n%s", own, r.out)
		}
	}
	r = outside.run(t, c.l3run(t, "--", "traceroute", "-n", "-w", "5", far4))
	if got, want := hops(r.out), []string{ownHop4, router4, far4}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("hops %q, want %q\n%s%s", got, want, r.out, r.errout)
	}
}

// TestTraceroute: UDP and ICMP traceroute show the stack, then the hops that the host
// outside sees, then what became of the packet.
func TestTraceroute(t *testing.T) {
	need(t, "traceroute")
	const one = "-q 1 -N 1" // a router sends but five errors at once about what it has no way to
	as(t, func(t *testing.T, c *caller) {
		outside := newPath(t)
		pingGroups(t, outside, "0 2147483647")
		for _, tc := range []struct {
			args, host string
			want       []string
		}{
			{"", far4, []string{ownHop4, router4, far4}},
			{"", far6, []string{ownHop6, router6, far6}},
			{"-I", far4, []string{ownHop4, router4, far4}},
			{"-I", far6, []string{ownHop6, router6, far6}},
			{"", silent4, []string{ownHop4, router4, router4 + " !H"}},
			{one, banned4, []string{ownHop4, router4 + " !X"}},
			{one, banned6, []string{ownHop6, router6 + " !X"}},
			{one + " -I", banned4, []string{ownHop4, router4 + " !X"}},
			{one, gone4, []string{ownHop4, router4 + " !N"}},
			{one, gone6, []string{ownHop6, router6 + " !N"}},
			{"-w 1 -m 4 " + one, hidden4, []string{ownHop4, router4, "*", "*"}},
			{"-w 1 -m 4 -I " + one, hidden6, []string{ownHop6, router6, "*", "*"}},
		} {
			args := append([]string{"--", "traceroute", "-n", "-w", "5"}, strings.Fields(tc.args)...)
			args = append(args, tc.host)
			r := outside.run(t, c.l3run(t, args...))
			if c.UID != 0 && strings.Contains(tc.args, "-I") && fmt.Sprint(hops(r.out)) != fmt.Sprint(tc.want) {
				r = outside.run(t, c.l3run(t, args...)) // it has lost all three
			}
			if got := hops(r.out); fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("traceroute %s %s: hops %q, want %q\n%s%s", tc.args, tc.host, got, tc.want, r.out, r.errout)
			}
		}
	})
}

// TestPathMTU: a datagram that is too big for a link far away comes back as an error
// that tells its MTU, and the command's kernel goes by it.
func TestPathMTU(t *testing.T) {
	need(t, "traceroute")
	c := newCaller(t, 0)
	outside := newPath(t)
	for _, host := range []string{far4, far6} {
		a := netip.MustParseAddr(host)
		r := outside.run(t, c.l3run(t, "-mtu", "1500", "--", "traceroute", "-n", "--mtu", "-w", "3", host))
		want := fmt.Sprintf("F=%d", narrow)
		if !strings.Contains(r.out, want) || !strings.Contains(r.out, a.String()) {
			t.Errorf("%s: no %s in\n%s%s", host, want, r.out, r.errout)
		}
	}
}
