package realproxy

import (
	"fmt"
	"os"
	"testing"
)

// Microsocks runs microsocks and returns its address. An empty user is no
// authentication.
func Microsocks(t testing.TB, user, password string) (address string) {
	t.Helper()
	port := freePort(t)
	args := []string{"-i", "127.0.0.1", "-p", port}
	if user != "" {
		args = append(args, "-u", user, "-P", password)
	}
	start(t, "microsocks", args...)
	await(t, "tcp", "127.0.0.1:"+port)
	return "127.0.0.1:" + port
}

// The user that Dante knows, and no other program of this host.
const (
	User     = "anna"
	Password = "s3cret"
	shadow   = "$6$l3extract$g9SD/pp4cEnlQz5f72dVcXCl2.UKSrLW/2Yb6QphVJFCLXw0zLlAgvF/VC2hHvZryatU7AcNU.dEjhHizEOJF/"
)

// Dante runs Dante, which wants User and Password or nothing, and returns its address.
// It does CONNECT and UDP ASSOCIATE to both families of the loopback interface, but
// for 127.0.0.66, which its rules forbid. It needs root: its users are the system's,
// so it gets a system's list of its own.
func Dante(t testing.TB, wantPassword bool) (address string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to give Dante users of its own")
	}
	port, dir := freePort(t), t.TempDir()
	method := "none"
	if wantPassword {
		method = "username"
	}
	conf := write(t, dir+"/danted.conf", fmt.Sprintf(`
logoutput: stderr
errorlog: stderr
internal: 127.0.0.1 port = %s
external: 127.0.0.1
external: ::1
external.rotation: route
socksmethod: %s
user.privileged: root
user.unprivileged: nobody
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks block { from: 0.0.0.0/0 to: 127.0.0.66/32 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 command: connect udpassociate udpreply }
socks pass { from: 0.0.0.0/0 to: ::/0 command: connect udpassociate udpreply }
socks pass { from: ::/0 to: 0.0.0.0/0 command: udpreply }
`, port, method))
	users := func(file, entry string) string {
		old, err := os.ReadFile("/etc/" + file)
		if err != nil {
			t.Fatal(err)
		}
		return write(t, dir+"/"+file, string(old)+entry+"\n")
	}
	passwd := users("passwd", User+":x:65000:65000::/nonexistent:/usr/sbin/nologin")
	hashes := users("shadow", User+":"+shadow+":19000:0:99999:7:::")
	if err := os.Chmod(passwd, 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, "unshare", "-m", "sh", "-c",
		`mount --bind "$1" /etc/passwd && mount --bind "$2" /etc/shadow && exec danted -f "$3"`, "sh", passwd, hashes, conf)
	await(t, "tcp", "127.0.0.1:"+port)
	return "127.0.0.1:" + port
}
