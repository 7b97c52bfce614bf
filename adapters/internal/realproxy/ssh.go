package realproxy

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// SSHD is an OpenSSH server that lets the test's user in by a key, and allows
// forwarding but to 127.0.0.66.
type SSHD struct {
	Address    string // host:port
	User       string
	Key        string // path of the client's private key, without a passphrase
	KnownHosts string // path of a file with the server's key
	HostKey    string // path of the server's public key
	Stop       func() // ends it, before the test does
	port, dir  string
}

// NewSSHD runs an sshd.
func NewSSHD(t testing.TB) *SSHD {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: sshd changes to the user who logs in")
	}
	dir := t.TempDir()
	s := &SSHD{User: "root", Key: dir + "/client", KnownHosts: dir + "/known_hosts", HostKey: dir + "/host.pub", port: freePort(t), dir: dir}
	s.Address = "127.0.0.1:" + s.port
	for _, key := range []string{s.Key, dir + "/host"} {
		keygen, err := exec.LookPath("ssh-keygen")
		if err != nil {
			t.Skip("ssh-keygen is not installed")
		}
		if out, err := exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
	}
	public, err := os.ReadFile(s.HostKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.KnownHosts, "[127.0.0.1]:"+s.port+" "+string(public))
	write(t, dir+"/sshd_config", fmt.Sprintf(`
ListenAddress 127.0.0.1:%s
HostKey %s/host
PidFile none
AuthorizedKeysFile %s/client.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
PermitOpen 127.0.0.1:* localhost:* [::1]:* 127.0.0.9:*
`, s.port, dir, dir))
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // it insists
		t.Fatal(err)
	}
	s.Start(t)
	return s
}

// Start runs it again after Stop.
func (s *SSHD) Start(t testing.TB) {
	t.Helper()
	path, err := exec.LookPath("sshd")
	if err != nil {
		path = "/usr/sbin/sshd"
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("sshd is not installed")
	}
	s.Stop = start(t, path, "-D", "-e", "-f", s.dir+"/sshd_config") // by its whole path: it starts itself again
	await(t, "tcp", s.Address)
}

// SSHDynamic runs an OpenSSH client with a SOCKS server (ssh -D) and returns its
// address.
func SSHDynamic(t testing.TB) (address string) {
	t.Helper()
	s := NewSSHD(t)
	port := freePort(t)
	start(t, "ssh", "-F", "none", "-N", "-D", "127.0.0.1:"+port, "-p", s.port, "-i", s.Key,
		"-o", "UserKnownHostsFile="+s.KnownHosts, "-o", "BatchMode=yes", s.User+"@127.0.0.1")
	await(t, "tcp", "127.0.0.1:"+port)
	return "127.0.0.1:" + port
}
