package realproxy

import (
	"fmt"
	"testing"
)

// Tinyproxy runs tinyproxy, which does CONNECT to any port, and returns its address.
// An empty user is no authentication.
func Tinyproxy(t testing.TB, user, password string) (address string) {
	t.Helper()
	port, dir := freePort(t), t.TempDir()
	conf := fmt.Sprintf("Port %s\nListen 127.0.0.1\nTimeout 60\nMaxClients 100\n", port)
	if user != "" {
		conf += fmt.Sprintf("BasicAuth %s %s\n", user, password)
	}
	start(t, "tinyproxy", "-d", "-c", write(t, dir+"/tinyproxy.conf", conf))
	await(t, "tcp", "127.0.0.1:"+port)
	return "127.0.0.1:" + port
}

// Shadowsocks runs ss-server of shadowsocks-libev, with UDP, and returns its address.
func Shadowsocks(t testing.TB, method, password string) (address string) {
	t.Helper()
	port := freePort(t)
	start(t, "ss-server", "-s", "127.0.0.1", "-p", port, "-k", password, "-m", method, "-u")
	await(t, "tcp", "127.0.0.1:"+port)
	return "127.0.0.1:" + port
}
